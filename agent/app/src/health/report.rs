//! What agents say of themselves, as bytes: the report as the first version with it had it, then what was added since. An agent of that
//! version reads what it knows; what it does not say is not known.

use shoal_care::SelfReport;
use shoal_net::{Request, Response};

use crate::wire::{self, Method, WireError};

/// A ping that says so.
pub(crate) fn request(report: &SelfReport) -> Result<Request, WireError> {
    wire::request(Method::Ping, &(report, report.busy_permille))
}

/// The answer to one.
pub(crate) fn answer(report: &SelfReport) -> Response {
    wire::answer(&(report, report.busy_permille))
}

/// What an answer says.
pub(crate) fn read(response: &Response) -> Result<SelfReport, WireError> {
    wire::check(response)?;
    decode(&response.head)
}

/// What a ping says.
pub(crate) fn decode(head: &[u8]) -> Result<SelfReport, WireError> {
    match wire::decode::<(SelfReport, Option<u16>)>(head) {
        Ok((report, busy_permille)) => Ok(SelfReport { busy_permille, ..report }),
        Err(_) => wire::decode(head),
    }
}

#[cfg(test)]
mod tests {
    use shoal_care::Standing;

    use super::*;

    fn report() -> SelfReport {
        let standing = Standing { reasons: vec!["a disk of it is slow".into()], ..Standing::default() };
        SelfReport { position: 7, standing, busy_permille: Some(250), ..SelfReport::default() }
    }

    #[test]
    fn an_agent_says_all_and_reads_all() {
        assert_eq!(decode(&request(&report()).expect("a ping").head).expect("a report"), report());
        assert_eq!(read(&answer(&report())).expect("a report"), report());
    }

    #[test]
    fn agents_of_the_version_before_are_read_and_read_what_they_know() {
        let before = wire::encode(&report()).expect("as it was");
        let known = SelfReport { busy_permille: None, ..report() };
        assert_eq!(decode(&before).expect("a report"), known);
        let now = request(&report()).expect("a ping").head;
        assert_eq!(wire::decode::<SelfReport>(&now).expect("what that version reads"), known);
        assert!(decode(&before[..before.len() - 1]).is_err(), "cut short");
    }
}
