//! The servers that are measured, each started on a folder of the same disk and stopped when dropped.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use shoal_testkit::{DemoOptions, DemoPool, free_port_base, process, wait_until};

use super::load::Target;
use crate::steps::installed;

/// How long a server may take to answer.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// One server under measurement.
pub(crate) trait Server {
    fn name(&self) -> &str;
    fn target(&self) -> Target;
    /// Its processes now.
    fn pids(&self) -> Vec<u32>;
}

pub(crate) struct Shoal {
    pool: DemoPool,
    target: Target,
}

impl Shoal {
    pub(crate) fn start(binary: PathBuf, directory: &Path, agents: usize) -> Result<Self> {
        let pool = DemoPool::start(DemoOptions {
            binary,
            agents,
            directory: directory.join("shoal"),
            dav_port: free_port_base(100)?,
        })?;
        let info = pool.info();
        let target = Target {
            address: pool.agent(0).dav_address()?,
            base: format!("/{}/", info.volume),
            user: info.user.clone(),
            password: info.password.clone(),
        };
        Ok(Self { pool, target })
    }

    pub(crate) fn pool(&self) -> &DemoPool {
        &self.pool
    }
}

impl Server for Shoal {
    fn name(&self) -> &str {
        "Shoal"
    }

    fn target(&self) -> Target {
        self.target.clone()
    }

    fn pids(&self) -> Vec<u32> {
        self.pool.pids()
    }
}

/// A server that is a program with a configuration file.
pub(crate) struct Configured {
    name: &'static str,
    child: Child,
    target: Target,
}

impl Server for Configured {
    fn name(&self) -> &str {
        self.name
    }

    fn target(&self) -> Target {
        self.target.clone()
    }

    fn pids(&self) -> Vec<u32> {
        process::with_descendants(&[self.child.id()])
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        for pid in self.pids().into_iter().rev() {
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
            let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::TERM));
        }
        let _ = self.child.wait();
    }
}

/// nginx with its WebDAV module, where installed.
pub(crate) fn nginx(directory: &Path) -> Option<Result<Configured>> {
    let modules = ["/usr/lib/nginx/modules", "/usr/share/nginx/modules"];
    let extension =
        modules.iter().map(|m| PathBuf::from(m).join("ngx_http_dav_ext_module.so")).find(|m| m.is_file())?;
    let program = program("nginx")?;
    Some((|| {
        let (folder, port) = (directory.join("nginx"), free_port_base(10)?);
        fs::create_dir_all(folder.join("files"))?;
        fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let root = folder.display();
        let configuration = format!(
            "load_module {};\nuser root;\nworker_processes 2;\ndaemon off;\npid {root}/pid;\nerror_log {root}/error.log;\n\
             events {{ worker_connections 256; }}\nhttp {{\n access_log off;\n client_max_body_size 0;\n\
             client_body_temp_path {root}/body;\n keepalive_requests 1000000;\n sendfile on;\n tcp_nodelay on;\n server {{\n  listen 127.0.0.1:{port};\n\
             location / {{ root {root}/files; dav_methods PUT DELETE MKCOL COPY MOVE; dav_ext_methods PROPFIND OPTIONS; \
             create_full_put_path on; }}\n }}\n}}\n",
            extension.display()
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration)?;
        start("nginx", Command::new(program).arg("-p").arg(&folder).arg("-c").arg(&file), port)
    })())
}

/// Apache with mod_dav, where installed.
pub(crate) fn apache(directory: &Path) -> Option<Result<Configured>> {
    let modules = PathBuf::from("/usr/lib/apache2/modules");
    let program = program("apache2").filter(|_| modules.join("mod_dav_fs.so").is_file())?;
    Some((|| {
        let (folder, port) = (directory.join("apache"), free_port_base(10)?);
        fs::create_dir_all(folder.join("files"))?;
        let (root, modules) = (folder.display(), modules.display());
        let configuration = format!(
            "ServerRoot {root}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile {root}/pid\nErrorLog {root}/error.log\n\
             LoadModule mpm_event_module {modules}/mod_mpm_event.so\nLoadModule authz_core_module {modules}/mod_authz_core.so\n\
             LoadModule dav_module {modules}/mod_dav.so\nLoadModule dav_fs_module {modules}/mod_dav_fs.so\n\
             User www-data\nGroup www-data\nDavLockDB {root}/lock\nDocumentRoot {root}/files\nMaxKeepAliveRequests 0\n\
             <Directory {root}/files>\n Dav On\n Require all granted\n DavDepthInfinity on\n</Directory>\n"
        );
        let file = folder.join("apache.conf");
        fs::write(&file, configuration)?;
        Command::new("chown").args(["-R", "www-data"]).arg(&folder).status()?;
        start("Apache", Command::new(program).arg("-f").arg(&file).arg("-DFOREGROUND"), port)
    })())
}

fn program(name: &str) -> Option<PathBuf> {
    let system = PathBuf::from("/usr/sbin").join(name);
    if system.is_file() {
        return Some(system);
    }
    installed(name).then(|| name.into())
}

fn start(name: &'static str, command: &mut Command, port: u16) -> Result<Configured> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.with_context(|| format!("cannot start {name}"))?;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let target = Target { address, base: "/".into(), user: "nobody".into(), password: String::new() };
    let server = Configured { name, child, target };
    wait_until(&format!("{name} to answer"), START_DEADLINE, || Ok(TcpStream::connect(address).ok()))?;
    Ok(server)
}
