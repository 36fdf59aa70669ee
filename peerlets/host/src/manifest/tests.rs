use super::*;

const LEAST: &str = "type = \"t\"\nversion = \"1.0.0\"\ndescription = \"d\"\ncommand = [\"wc\"]\nmode = \"oneshot\"\n";

fn with(more: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(&format!("{LEAST}{more}"))
}

fn changed(from: &str, to: &str) -> Result<Manifest, ManifestError> {
    assert!(LEAST.contains(from), "{from}");
    Manifest::parse(&LEAST.replace(from, to))
}

#[test]
fn what_is_left_out_is_what_most_want() {
    let manifest = with("").expect("a manifest");
    assert_eq!((manifest.input, manifest.output, manifest.ready), (Input::Text, Output::Text, Ready::AtOnce));
    assert_eq!(manifest.limits.time_s, 60);
    assert_eq!((manifest.rights.role, manifest.rights.executes, manifest.rights.network), (Role::User, false, false));
    let service = changed("oneshot", "service").expect("a manifest");
    assert!(!service.past);
    assert_eq!((service.output, service.limits.instances), (Output::Lines, 1));
}

#[test]
fn all_of_it_can_be_said() {
    let manifest = with(concat!(
        "input = \"json\"\noutput = \"json\"\nready = { line = \"up\" }\n[environment]\nLC_ALL = \"C\"\n",
        "[limits]\ntime_s = 1\nmemory_mib = 16\noutput_kib = 2\nfile_mib = 3\nprocesses = 4\nqueue = 5\n",
        "grace_s = 0\ninstances = 6\n[rights]\nrole = \"admin\"\nexecutes = true\nnetwork = true\nas_agent = true\n",
        "read = [\"/srv\", \"{folder}/data\"]\nwrite = [\"/var/tmp\"]\n",
    ));
    let manifest = manifest.expect("a manifest");
    assert_eq!(manifest.ready, Ready::Line("up".into()));
    let Limits { time_s, memory_mib, output_kib, file_mib, processes, queue, grace_s, instances, .. } = manifest.limits;
    assert_eq!((time_s, memory_mib, output_kib, file_mib), (1, 16, 2, 3));
    assert_eq!((processes, queue, grace_s, instances), (4, 5, 0, 6));
    assert_eq!(manifest.rights.read.len(), 2);
    assert!(Role::Viewer < Role::User && Role::User < Role::Operator && Role::Operator < Role::Admin);
}

#[test]
fn what_is_wrong_is_named() {
    let wrong = [
        (with("colour = 1"), "colour"),
        (with("[limits]\ntime = 1"), "time"),
        (with("[limits]\ntime_s = 0"), "limits.time_s"),
        (with("[limits]\ntime_s = 86401"), "86400"),
        (with("[limits]\nmemory_mib = -1"), "memory_mib"),
        (with("[limits]\noutput_kib = 161"), "limits.output_kib"),
        (with("[limits]\nidle_s = 5"), "limits.idle_s"),
        (with("[limits]\nqueue = 1001"), "limits.queue"),
        (with("[rights]\nrole = \"god\""), "role"),
        (with("[rights]\nas_agent = true"), "executes"),
        (with("[rights]\nread = [\"/a/../b\"]"), "rights.read"),
        (with("[rights]\nwrite = [\"here\"]"), "rights.write"),
        (with("[environment]\nHOME = \"/\""), "environment.HOME"),
        (with("[environment]\nSHOAL_TYPE = \"x\""), "environment.SHOAL_TYPE"),
        (with("[environment]\n\"A=B\" = \"x\""), "environment.A=B"),
        (with("[environment]\nA = \"\\u0000\""), "environment.A"),
        (with("past = true"), "past"),
        (with("ready = { line = \"\" }"), "ready"),
        (with("ready = { line = \"up\" }"), "ready"),
        (with("ready = \"soon\""), "soon"),
        (changed("\"t\"", "\"shoal.receipt\""), "type"),
        (changed("\"t\"", "\"../t\""), "type"),
        (changed("1.0.0", "one"), "version"),
        (changed("\"d\"", "\"a\\nb\""), "description"),
        (changed("\"d\"", "\" \""), "description"),
        (changed("[\"wc\"]", "[]"), "command"),
        (changed("[\"wc\"]", "[\"\"]"), "command"),
        (changed("[\"wc\"]", "\"wc -l\""), "command"),
        (changed("[\"wc\"]", "[\"../wc\"]"), ".."),
        (changed("[\"wc\"]", "[\"/usr/../bin/wc\"]"), ".."),
        (changed("[\"wc\"]", "[\"{folder}/wc\"]"), "command"),
        (changed("[\"wc\"]", "[\"wc\", \"a\\u0000b\"]"), "NUL"),
        (changed("oneshot", "daemon"), "daemon"),
        (Manifest::parse(&LEAST.replace("oneshot\"", "service\"\noutput = \"text\"")), "output"),
        (Manifest::parse(&LEAST.replace("oneshot\"", "service\"\n[limits]\ninstances = 2")), "limits.instances"),
        (Manifest::parse(""), "type"),
        (Manifest::parse("type = "), "line 1"),
    ];
    for (result, named) in wrong {
        let error = result.map(|_| named).expect_err("it is wrong").to_string();
        assert!(error.contains(named), "{named:?} is not in: {error}");
    }
}

#[test]
fn a_program_is_found_in_the_systems_folders_or_in_the_peerlets_own_and_nowhere_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let outside = tempfile::NamedTempFile::new().expect("a file");
    let runnable = |path: &std::path::Path, mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(path, mode).expect("it is ours");
    };
    runnable(outside.path(), 0o755);
    std::fs::write(folder.path().join("run"), "#!/bin/sh\n").expect("a file");
    runnable(&folder.path().join("run"), 0o755);
    std::fs::write(folder.path().join("text"), "").expect("a file");
    std::os::unix::fs::symlink("run", folder.path().join("inside")).expect("a link");
    std::os::unix::fs::symlink(outside.path(), folder.path().join("outside")).expect("a link");
    let program = |word: &str| {
        let manifest = changed("[\"wc\"]", &format!("[{word:?}]")).expect("a manifest");
        manifest.program(folder.path())
    };
    assert!(program("wc").expect("it is installed").is_absolute());
    assert_eq!(program("/bin/sh").expect("it is there"), std::path::Path::new("/bin/sh"));
    assert!(program("./run").is_ok() && program("./inside").is_ok());
    // A file of the folder is not found by its bare name, nor by way of the caller's own search path.
    assert!(matches!(program("run"), Err(ProgramError::NotInstalled(_))));
    assert!(matches!(program("./outside"), Err(ProgramError::Outside(_))));
    assert!(matches!(program("./text"), Err(ProgramError::NotExecutable(_))));
    assert!(matches!(program("./none"), Err(ProgramError::Unreachable { .. })));
    assert!(matches!(program("/usr"), Err(ProgramError::NotExecutable(_))));
}
