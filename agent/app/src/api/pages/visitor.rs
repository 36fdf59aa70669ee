//! Who looks at a page: somebody who is signed in, or is sent to sign in and comes back to that very page.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::Redirect;

use super::super::Api;
use super::super::caller::Caller;
use crate::page::PAGES;

/// Where one signs in.
pub(super) const SIGN_IN: &str = "/sign-in";
/// Bytes of a page's path one comes back to, at most.
const PATH_LIMIT_BYTES: usize = 512;

/// Somebody who is signed in.
pub(in super::super) struct Visitor(pub(in super::super) Caller);

impl FromRequestParts<Arc<Api>> for Visitor {
    type Rejection = Redirect;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Redirect> {
        match Caller::from_request_parts(parts, api).await {
            Ok(caller) => Ok(Self(caller)),
            Err(_) => Err(to_sign_in(parts.uri.path())),
        }
    }
}

/// To where one signs in, for a page.
fn to_sign_in(path: &str) -> Redirect {
    match own_page(path) {
        "/" => Redirect::to(SIGN_IN),
        // All else that such a path may hold stands in a query as it is.
        page => Redirect::to(&format!("{SIGN_IN}?next={}", page.replace('%', "%25"))),
    }
}

/// The page one wants to see after signing in, if it is one of ours; else the first one. What it is made of comes from anybody:
/// nothing leads to another site, or to what is no page.
pub(super) fn own_page(wanted: &str) -> &str {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~%".contains(&byte);
    let is_ours = PAGES.iter().any(|(page, _)| {
        wanted.strip_prefix(page).is_some_and(|rest| *page != "/" && (rest.is_empty() || rest.starts_with('/')))
    });
    let climbs =
        wanted.split('/').any(|part| matches!(part.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | ".."));
    let fits = wanted.len() <= PATH_LIMIT_BYTES && wanted.bytes().all(is_plain) && !wanted.contains("//");
    if is_ours && fits && !climbs { wanted } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_comes_back_to_our_pages_and_never_elsewhere() {
        for page in ["/chat", "/chat/lobby", "/chat/with/ana%20maria", "/whiteboard/main", "/files", "/run"] {
            assert_eq!(own_page(page), page);
        }
        for elsewhere in [
            "",
            "/",
            "//evil.example/chat",
            "/\\evil.example",
            "/chat//evil.example",
            "/chat/../sign-out",
            "/chat/%2E./sign-out",
            "/chatter",
            "/sign-in",
            "/api/v1/users",
            "https://evil.example/chat",
            "javascript:alert(1)",
            "chat",
            "/chat\r\nSet-Cookie: a=b",
            "/chat/lobby?x=1",
            "/chat/\u{e9}",
        ] {
            assert_eq!(own_page(elsewhere), "/", "{elsewhere}");
        }
        assert_eq!(own_page(&format!("/chat/{}", "x".repeat(PATH_LIMIT_BYTES))), "/");
    }
}
