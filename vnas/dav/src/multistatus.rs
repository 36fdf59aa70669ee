//! Writing multistatus answers (RFC 4918 §13).

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use shoal_ledger::{Property, PropertyName};

use crate::body::Body;
use crate::live::{Live, OWNCLOUD, Subject, WINDOWS};
use dci_proto::xml::{DAV, escape};

/// What a document begins with; its prefixes are those [`Live`] uses.
pub(crate) const HEAD: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\" \
                               xmlns:Z=\"urn:schemas-microsoft-com:\" xmlns:oc=\"http://owncloud.org/ns\">\n";
/// What it ends with.
pub(crate) const TAIL: &str = "</D:multistatus>\n";

/// A property asked for by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) name: PropertyName,
    pub(crate) live: Option<Live>,
}

/// Which properties are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Those WebDAV defines and all dead ones, and these besides.
    All(Vec<Ask>),
    /// The names of those there are.
    Names,
    /// These.
    These(Vec<Ask>),
}

impl Wanted {
    /// Whether a property that must be worked out may be asked for.
    pub(crate) fn includes(&self, wanted: &[Live]) -> bool {
        match self {
            Self::All(asks) | Self::These(asks) => {
                asks.iter().any(|ask| ask.live.is_some_and(|live| wanted.contains(&live)))
            }
            Self::Names => true,
        }
    }

    /// Whether locks are asked for.
    pub(crate) fn includes_locks(&self) -> bool {
        match self {
            Self::All(_) => true,
            Self::Names => false,
            Self::These(_) => self.includes(&[Live::LockDiscovery]),
        }
    }
}

/// An answer with a multistatus body.
pub(crate) fn response(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::MULTI_STATUS;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml; charset=utf-8"));
    response
}

/// Appends the response of one resource.
pub(crate) fn write_resource(out: &mut String, href: &str, wanted: &Wanted, subject: &Subject<'_>, dead: &[Property]) {
    open_response(out, href);
    out.push_str("<D:propstat><D:prop>");
    let mut missing = Vec::new();
    match wanted {
        Wanted::Names => write_names(out, subject, dead),
        Wanted::These(asks) => {
            asks.iter().filter(|ask| !write_asked(out, ask, subject, dead)).for_each(|ask| missing.push(ask))
        }
        Wanted::All(besides) => {
            for live in Live::of_allprop() {
                if *live != Live::DisplayName || dead_display_name(dead).is_none() {
                    live.write(out, subject);
                }
            }
            dead.iter().for_each(|property| out.push_str(&String::from_utf8_lossy(&property.xml)));
            let beyond = |ask: &&Ask| ask.live.is_some_and(|live| !Live::of_allprop().contains(&live));
            besides.iter().filter(beyond).for_each(|ask| {
                write_asked(out, ask, subject, dead);
            });
        }
    }
    out.push_str("</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>");
    if !missing.is_empty() {
        out.push_str("<D:propstat><D:prop>");
        missing.iter().for_each(|ask| write_empty(out, &ask.name));
        out.push_str("</D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>");
    }
    out.push_str("</D:response>\n");
}

/// Appends the beginning of a response.
pub(crate) fn open_response(out: &mut String, href: &str) {
    out.push_str("<D:response><D:href>");
    out.push_str(href);
    out.push_str("</D:href>");
}

/// Appends an element of this name with nothing in it.
pub(crate) fn write_empty(out: &mut String, name: &PropertyName) {
    let prefix = match name.namespace.as_str() {
        DAV => Some("D:"),
        OWNCLOUD => Some("oc:"),
        WINDOWS => Some("Z:"),
        _ => None,
    };
    match prefix {
        Some(prefix) => {
            out.push('<');
            out.push_str(prefix);
            out.push_str(&name.name);
        }
        None if name.namespace.is_empty() => {
            out.push('<');
            out.push_str(&name.name);
        }
        None => {
            out.push_str("<n:");
            out.push_str(&name.name);
            out.push_str(" xmlns:n=\"");
            escape(out, &name.namespace);
            out.push('"');
        }
    }
    out.push_str("/>");
}

/// A dead property stands before the live one of its name: only `displayname` can be both.
fn write_asked(out: &mut String, ask: &Ask, subject: &Subject<'_>, dead: &[Property]) -> bool {
    if let Some(property) = dead.iter().find(|property| property.name == ask.name) {
        out.push_str(&String::from_utf8_lossy(&property.xml));
        return true;
    }
    ask.live.is_some_and(|live| live.write(out, subject))
}

fn write_names(out: &mut String, subject: &Subject<'_>, dead: &[Property]) {
    let mut value = String::new();
    for live in Live::all() {
        value.clear();
        if live.write(&mut value, subject) {
            let (namespace, name) = (live.namespace().to_owned(), live.local_name().to_owned());
            write_empty(out, &PropertyName { namespace, name });
        }
    }
    dead.iter()
        .filter(|property| Live::named(&property.name).is_none())
        .for_each(|property| write_empty(out, &property.name));
}

fn dead_display_name(dead: &[Property]) -> Option<&Property> {
    dead.iter().find(|property| Live::named(&property.name) == Some(Live::DisplayName))
}
