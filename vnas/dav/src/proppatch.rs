//! PROPPATCH: dead properties kept, a few live ones set, all or none.
//!
//! Done here and not by dav-server, which answers that it has set Windows' times without telling the file system, and
//! keeps properties re-written instead of as sent.

use bytes::Bytes;
use http::Response;
use shoal_ledger::{PropertyName, PropertyPatch};

use crate::XML_ELEMENTS_LIMIT;
use crate::body::Body;
use crate::conditions;
use crate::context::{Request, is_folder};
use crate::live::{Live, WINDOWS};
use crate::multistatus::{self, open_response, write_empty};
use crate::refusal::Refusal;
use crate::times::{parse_http_date, parse_rfc3339};
use dci_proto::xml::{self, Element};

/// What a PROPPATCH comes to.
#[derive(Default)]
struct Plan {
    dead: Vec<PropertyPatch>,
    modified_ms: Option<i64>,
    created_ms: Option<i64>,
    /// Every property named, and whether it can be changed so.
    verdicts: Vec<(PropertyName, Verdict)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Fine,
    /// Only the server changes it.
    Protected,
    /// Its value makes no sense.
    BadValue,
}

/// Answers a PROPPATCH.
pub(crate) async fn proppatch(request: &Request, body: &[u8]) -> Result<Response<Body>, Refusal> {
    let path = request.path_to_change()?;
    let node = request.node()?.ok_or_else(Refusal::not_found)?;
    let submitted = conditions::check(request, Some(&node))?;
    let guard = request.guard(submitted);
    let plan = plan(body)?;
    let fine = plan.verdicts.iter().all(|(_, verdict)| *verdict == Verdict::Fine);
    let fail = |error| request.refusal(&error);
    if fine && !plan.dead.is_empty() {
        request.drive.patch_properties(path, plan.dead, guard.clone()).await.map_err(fail)?;
    }
    if fine && (plan.modified_ms.is_some() || plan.created_ms.is_some()) {
        request.drive.set_times(path, plan.modified_ms, plan.created_ms, guard).await.map_err(fail)?;
    }
    let mut out = String::from(multistatus::HEAD);
    open_response(&mut out, &request.url.encode(is_folder(&node)));
    let groups: &[(Verdict, &str)] = if fine {
        &[(Verdict::Fine, "200 OK")]
    } else {
        &[
            (Verdict::Protected, "403 Forbidden"),
            (Verdict::BadValue, "409 Conflict"),
            (Verdict::Fine, "424 Failed Dependency"),
        ]
    };
    for (wanted, status) in groups {
        write_group(&mut out, &plan.verdicts, *wanted, status);
    }
    out.push_str("</D:response>\n");
    out.push_str(multistatus::TAIL);
    Ok(multistatus::response(Body::whole(out)))
}

fn write_group(out: &mut String, verdicts: &[(PropertyName, Verdict)], wanted: Verdict, status: &str) {
    if !verdicts.iter().any(|(_, verdict)| *verdict == wanted) {
        return;
    }
    out.push_str("<D:propstat><D:prop>");
    verdicts.iter().filter(|(_, verdict)| *verdict == wanted).for_each(|(name, _)| write_empty(out, name));
    out.push_str("</D:prop><D:status>HTTP/1.1 ");
    out.push_str(status);
    out.push_str("</D:status>");
    if wanted == Verdict::Protected {
        out.push_str("<D:error><D:cannot-modify-protected-property/></D:error>");
    }
    out.push_str("</D:propstat>");
}

fn plan(body: &[u8]) -> Result<Plan, Refusal> {
    let root = xml::parse(body, XML_ELEMENTS_LIMIT)?;
    if !root.is_dav("propertyupdate") {
        return Err(Refusal::bad_request("the body is no propertyupdate"));
    }
    let mut plan = Plan::default();
    for step in &root.children {
        let set = step.is_dav("set");
        if !set && !step.is_dav("remove") {
            continue;
        }
        for element in step.children.iter().filter(|child| child.is_dav("prop")).flat_map(|prop| &prop.children) {
            let name = PropertyName { namespace: element.namespace.clone(), name: element.name.clone() };
            let verdict = if set { plan.set(&name, element, body) } else { plan.remove(&name) };
            plan.verdicts.retain(|(known, _)| *known != name);
            plan.verdicts.push((name, verdict));
        }
    }
    if plan.verdicts.is_empty() {
        return Err(Refusal::bad_request("the propertyupdate changes nothing"));
    }
    Ok(plan)
}

impl Plan {
    fn set(&mut self, name: &PropertyName, element: &Element, body: &[u8]) -> Verdict {
        let http_date = || parse_http_date(&element.text).map(|seconds| seconds * 1000);
        let (time, modified) = match Live::named(name) {
            Some(Live::WindowsModified | Live::LastModified) => (http_date(), true),
            Some(Live::WindowsCreation) => (http_date(), false),
            Some(Live::CreationDate) => (parse_rfc3339(&element.text), false),
            Some(Live::DisplayName) | None if !is_nonsense(name, element) => {
                let xml = Bytes::from(element.standalone(body));
                self.dead.push(PropertyPatch::Set(name.clone(), xml));
                return Verdict::Fine;
            }
            None => return Verdict::BadValue,
            Some(_) => return Verdict::Protected,
        };
        match (time, modified) {
            (None, _) => return Verdict::BadValue,
            (time, true) => self.modified_ms = time,
            (time, false) => self.created_ms = time,
        }
        Verdict::Fine
    }

    fn remove(&mut self, name: &PropertyName) -> Verdict {
        match Live::named(name) {
            Some(Live::DisplayName) | None => {
                self.dead.push(PropertyPatch::Remove(name.clone()));
                Verdict::Fine
            }
            // Windows removes what it cannot; there is nothing to remove.
            Some(Live::WindowsCreation | Live::WindowsModified) => Verdict::Fine,
            Some(_) => Verdict::Protected,
        }
    }
}

/// Windows' attributes and access time are kept for it, but only as the plain text they are.
fn is_nonsense(name: &PropertyName, element: &Element) -> bool {
    name.namespace == WINDOWS && !element.children.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(set: &str) -> Plan {
        let body = format!(
            "<D:propertyupdate xmlns:D='DAV:' xmlns:Z='urn:schemas-microsoft-com:'><D:set><D:prop>{set}</D:prop></D:set>\
             </D:propertyupdate>"
        );
        plan(body.as_bytes()).unwrap_or_default()
    }

    #[test]
    fn times_of_windows_become_times_of_the_file() {
        let plan = planned(
            "<Z:Win32LastModifiedTime>Sun, 06 Nov 1994 08:49:37 GMT</Z:Win32LastModifiedTime>\
             <Z:Win32CreationTime>Sun, 06 Nov 1994 08:49:36 GMT</Z:Win32CreationTime>\
             <Z:Win32FileAttributes>00000020</Z:Win32FileAttributes>",
        );
        assert_eq!((plan.modified_ms, plan.created_ms), (Some(784_111_777_000), Some(784_111_776_000)));
        assert_eq!(plan.dead.len(), 1);
        assert!(plan.verdicts.iter().all(|(_, verdict)| *verdict == Verdict::Fine));
    }

    #[test]
    fn what_only_the_server_knows_is_protected() {
        for protected in ["getetag", "getcontentlength", "resourcetype", "lockdiscovery", "quota-used-bytes"] {
            let plan = planned(&format!("<D:{protected}>1</D:{protected}>"));
            assert_eq!(plan.verdicts[0].1, Verdict::Protected, "{protected}");
        }
        assert_eq!(planned("<D:getlastmodified>soon</D:getlastmodified>").verdicts[0].1, Verdict::BadValue);
    }
}
