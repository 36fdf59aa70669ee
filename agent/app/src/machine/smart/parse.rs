//! What `smartctl --json -H -A` says. Pure; whatever the bytes are, it never fails.

use serde::Deserialize;
use shoal_care::standing::Smart;

/// Attribute of ATA disks: sectors replaced.
const REALLOCATED_SECTORS: u64 = 5;
/// Attribute of ATA disks: sectors that wait to be replaced.
const PENDING_SECTORS: u64 = 197;
/// Only this part of a raw value is the count; some makers keep other numbers above it.
const RAW_COUNT_MASK: u64 = 0xFFFF_FFFF;
/// Critical warning of an NVMe disk that it is too warm, which passes.
const TOO_WARM: u64 = 2;
/// Characters of a message kept, at most.
const MESSAGE_LIMIT: usize = 200;

/// What a disk said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// This.
    Health(Smart),
    /// Nothing of its health, and why.
    Nothing(String),
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Answer {
    smartctl: Program,
    smart_status: Option<Status>,
    ata_smart_attributes: Attributes,
    nvme_smart_health_information_log: Option<Nvme>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Program {
    messages: Vec<Message>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Message {
    string: String,
}

#[derive(Deserialize)]
struct Status {
    passed: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Attributes {
    table: Vec<Attribute>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Attribute {
    id: u64,
    when_failed: String,
    flags: Flags,
    raw: Raw,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Flags {
    prefailure: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Raw {
    value: u64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Nvme {
    critical_warning: u64,
    percentage_used: u64,
    media_errors: u64,
}

/// Reads an answer.
pub(super) fn told(answer: &[u8]) -> Told {
    let answer: Answer = match serde_json::from_slice(answer) {
        Ok(answer) => answer,
        Err(error) => return Told::Nothing(format!("the answer is no JSON of smartctl: {error}")),
    };
    let attributes = &answer.ata_smart_attributes.table;
    if answer.smart_status.is_none() && attributes.is_empty() && answer.nvme_smart_health_information_log.is_none() {
        let said: String = answer.smartctl.messages.first().map(|message| message.string.clone()).unwrap_or_default();
        return Told::Nothing(said.chars().take(MESSAGE_LIMIT).collect());
    }
    let raw = |id: u64| {
        let found = attributes.iter().find(|attribute| attribute.id == id);
        found.map_or(0, |attribute| attribute.raw.value & RAW_COUNT_MASK)
    };
    let nvme = answer.nvme_smart_health_information_log.unwrap_or_default();
    Told::Health(Smart {
        passed: answer.smart_status.and_then(|status| status.passed),
        reallocated_sectors: raw(REALLOCATED_SECTORS),
        pending_sectors: raw(PENDING_SECTORS),
        media_errors: nvme.media_errors,
        used_percent: nvme.percentage_used,
        warns: nvme.critical_warning & !TOO_WARM != 0 || attributes.iter().any(fails_now),
    })
}

/// An attribute of age, such as the temperature, may be beyond its limit for years.
fn fails_now(attribute: &Attribute) -> bool {
    attribute.flags.prefailure && attribute.when_failed == "now"
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Answers of smartctl 7, shortened to what matters and some of what does not.
    const ATA_PASSED: &str = r#"{"json_format_version":[1,0],"smartctl":{"version":[7,2],"argv":["smartctl","--json",
        "-H","-A","/dev/sda"],"exit_status":0},"device":{"name":"/dev/sda","info_name":"/dev/sda [SAT]","type":"sat",
        "protocol":"ATA"},"smart_status":{"passed":true},"ata_smart_attributes":{"revision":16,"table":[{"id":5,"name":
        "Reallocated_Sector_Ct","value":100,"worst":100,"thresh":10,"when_failed":"","flags":{"value":51,"string":
        "PO--CK ","prefailure":true},"raw":{"value":0,"string":"0"}},{"id":9,"name":"Power_On_Hours","value":95,
        "when_failed":"","raw":{"value":21844,"string":"21844"}},{"id":197,"name":"Current_Pending_Sector","value":100,
        "when_failed":"","raw":{"value":0,"string":"0"}}]},"power_on_time":{"hours":21844},"temperature":{"current":31}}"#;
    const ATA_SECTORS: &str = r#"{"smartctl":{"exit_status":64},"device":{"name":"/dev/sdb","type":"sat"},"smart_status":
        {"passed":true},"ata_smart_attributes":{"table":[{"id":5,"name":"Reallocated_Sector_Ct","value":97,"when_failed":
        "","raw":{"value":4294967416,"string":"120 (0 1)"}},{"id":197,"name":"Current_Pending_Sector","value":100,
        "when_failed":"past","raw":{"value":8,"string":"8"}},{"id":190,"name":"Airflow_Temperature_Cel","when_failed":"now","flags":
        {"prefailure":false},"raw":{"value":55,"string":"55"}}]}}"#;
    const ATA_FAILED: &str = r#"{"smartctl":{"exit_status":24},"device":{"name":"/dev/sdc","type":"sat"},"smart_status":
        {"passed":false},"ata_smart_attributes":{"table":[{"id":5,"name":"Reallocated_Sector_Ct","value":1,"worst":1,
        "thresh":10,"when_failed":"now","flags":{"prefailure":true},"raw":{"value":2040,"string":"2040"}}]}}"#;
    const NVME_WORN: &str = r#"{"smartctl":{"exit_status":0},"device":{"name":"/dev/nvme0","type":"nvme","protocol":
        "NVMe"},"smart_status":{"passed":true,"nvme":{"value":0}},"nvme_smart_health_information_log":{"critical_warning"
        :0,"temperature":38,"available_spare":100,"available_spare_threshold":10,"percentage_used":104,"media_errors":12,
        "num_err_log_entries":33,"temperature_sensors":[38,41]}}"#;
    const NVME_FAILED: &str = r#"{"smartctl":{"exit_status":8},"device":{"name":"/dev/nvme1","type":"nvme"},"smart_status"
        :{"passed":false,"nvme":{"value":4}},"nvme_smart_health_information_log":{"critical_warning":4,"percentage_used":
        17,"media_errors":0}}"#;
    const NOT_PERMITTED: &str = r#"{"json_format_version":[1,0],"smartctl":{"version":[7,2],"messages":[{"string":
        "Smartctl open device: /dev/sda failed: Permission denied","severity":"error"}],"exit_status":2},"device":{"name"
        :"/dev/sda","type":"scsi"}}"#;
    const NO_DEVICE: &str = r#"{"smartctl":{"messages":[{"string":"Smartctl open device: /dev/sdz failed: No such device",
        "severity":"error"}],"exit_status":2}}"#;
    const NO_SMART: &str = r#"{"smartctl":{"messages":[{"string":"SMART support is: Unavailable - device lacks SMART capability.","severity":"error"}],"exit_status":4},"device":{"name":"/dev/vda","type":"scsi"}}"#;

    #[test]
    fn what_disks_say_is_understood() {
        let passed = Smart { passed: Some(true), ..Smart::default() };
        let failed = Smart { passed: Some(false), ..Smart::default() };
        for (answer, expected) in [
            (ATA_PASSED, passed),
            (ATA_SECTORS, Smart { reallocated_sectors: 120, pending_sectors: 8, ..passed }),
            (ATA_FAILED, Smart { reallocated_sectors: 2040, warns: true, ..failed }),
            (NVME_WORN, Smart { media_errors: 12, used_percent: 104, ..passed }),
            (NVME_FAILED, Smart { used_percent: 17, warns: true, ..failed }),
        ] {
            assert_eq!(told(answer.as_bytes()), Told::Health(expected), "{answer}");
        }
    }

    #[test]
    fn a_disk_that_cannot_be_asked_says_nothing_rather_than_something_good_or_bad() {
        for (answer, reason) in [
            (NOT_PERMITTED, "Smartctl open device: /dev/sda failed: Permission denied"),
            (NO_DEVICE, "Smartctl open device: /dev/sdz failed: No such device"),
            (NO_SMART, "SMART support is: Unavailable - device lacks SMART capability."),
            ("{}", ""),
        ] {
            assert_eq!(told(answer.as_bytes()), Told::Nothing(reason.to_owned()));
        }
        for answer in ["", "[]", "smartctl: not found", r#"{"smart_status":7}"#, r#"{"smart_status":{"passed":true}"#] {
            assert!(matches!(told(answer.as_bytes()), Told::Nothing(_)), "{answer}");
        }
        assert_eq!(told(br#"{"smart_status":{}}"#), Told::Health(Smart::default()), "no verdict is no verdict");
    }

    proptest! {
        #[test]
        fn no_answer_is_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..2000) {
            let _ = told(&bytes);
            let _ = told(&ATA_PASSED.as_bytes()[..cut.min(ATA_PASSED.len())]);
        }
    }
}
