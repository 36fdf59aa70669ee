//! One request: who asks, how fresh the answer can be, which method, and what every answer carries.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, EXPECT, HOST, WARNING, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use shoal_volume::{Drive, DriveError};
use tracing::Instrument;

use crate::auth::{AuthFailure, Authenticator, Principal, credentials};
use crate::body::Body;
use crate::context::Request;
use crate::href::UrlPath;
use crate::put::next_frame;
use crate::refusal::Refusal;
use crate::strangers::Stranger;
use crate::{DoorConfig, DoorStats, get, library, lock_refresh, options, propfind, proppatch, put};

/// Bytes of a refused body that are read and thrown away while the refusal is on its way: a client that goes on sending
/// would find its connection broken before it sees the answer.
const DRAIN_BYTES: usize = 256 * 1024 * 1024;
/// The same for clients who have not said who they are.
const STRANGERS_DRAIN_BYTES: usize = 1024 * 1024;
/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// The WebDAV door over a drive. [`crate::serve`] lets clients in.
pub struct Door {
    drive: Drive,
    authenticator: Arc<dyn Authenticator>,
    pub(crate) config: Arc<DoorConfig>,
    pub(crate) stats: Arc<DoorStats>,
    challenge: HeaderValue,
    /// Request ids are this and a count, so that they differ over restarts.
    run: u32,
    requests: AtomicU64,
}

impl Door {
    /// A door that lets in whom the authenticator lets in.
    #[must_use]
    pub fn new(drive: Drive, authenticator: Arc<dyn Authenticator>, config: DoorConfig) -> Self {
        let realm: String =
            config.realm.chars().filter(|one| (' '..='~').contains(one) && !"\"\\".contains(*one)).collect();
        let challenge = HeaderValue::from_str(&format!("Basic realm=\"{realm}\", charset=\"UTF-8\""));
        Self {
            drive,
            authenticator,
            config: Arc::new(config),
            stats: Arc::default(),
            challenge: challenge.unwrap_or(HeaderValue::from_static("Basic realm=\"Shoal\", charset=\"UTF-8\"")),
            run: rand::random(),
            requests: AtomicU64::new(0),
        }
    }

    /// What it has counted.
    #[must_use]
    pub fn stats(&self) -> &Arc<DoorStats> {
        &self.stats
    }

    /// Answers a request.
    pub(crate) async fn answer(&self, request: http::Request<Incoming>, remote: SocketAddr) -> Response<Body> {
        let started = Instant::now();
        let id = format!("{:08x}-{:x}", self.run, self.requests.fetch_add(1, Ordering::Relaxed));
        let method = request.method().clone();
        let span = tracing::debug_span!("request", id, %method, path = request.uri().path(), %remote);
        let (mut parts, mut body) = request.into_parts();
        let expects = parts.headers.contains_key(EXPECT);
        let untouched = body.size_hint().lower();
        let (answer, known) = async {
            match self.admit(&parts, remote).await {
                Ok(principal) => (self.admitted(principal, &mut parts, &mut body).await, true),
                Err(refusal) => (Err(refusal), false),
            }
        }
        .instrument(span.clone())
        .await;
        let mut response = answer.unwrap_or_else(|refusal| {
            tracing::debug!(parent: &span, status = refusal.status().as_u16(), reason = refusal.reason(), "refused");
            refusal.response()
        });
        // A client that waits to be told to go on sends nothing until then.
        if !(expects && body.size_hint().lower() == untouched) {
            drain(body, if known { DRAIN_BYTES } else { STRANGERS_DRAIN_BYTES });
        }
        self.finish(&mut response, &id, &method);
        let latency = started.elapsed();
        self.stats.answered(&method, response.status(), latency);
        tracing::debug!(parent: &span, status = response.status().as_u16(), ?latency, "answered");
        response.map(|body| body.counted(Arc::clone(&self.stats)))
    }

    async fn admit(&self, parts: &http::request::Parts, remote: SocketAddr) -> Result<Principal, Refusal> {
        if parts.version == Version::HTTP_11 && parts.headers.get_all(HOST).iter().count() != 1 {
            return Err(Refusal::bad_request("there must be one Host header"));
        }
        let unauthorized =
            || Refusal::new(StatusCode::UNAUTHORIZED, "who are you?").with(WWW_AUTHENTICATE, self.challenge.clone());
        let credentials = credentials(&parts.headers).ok_or_else(unauthorized)?;
        let checked = self.authenticator.authenticate(&credentials.user, &credentials.password, remote.ip()).await;
        if let (Ok(_), Some(stranger)) = (&checked, parts.extensions.get::<Stranger>()) {
            stranger.is_known();
        }
        checked.map_err(|failure| match failure {
            AuthFailure::Wrong => unauthorized(),
            AuthFailure::SlowDown(wait) => {
                Refusal::retry(StatusCode::TOO_MANY_REQUESTS, "too many wrong passwords; try again later", wait)
            }
        })
    }

    async fn admitted(
        &self,
        principal: Principal,
        parts: &mut http::request::Parts,
        body: &mut Incoming,
    ) -> Result<Response<Body>, Refusal> {
        if parts.uri.path() == "*" || parts.method == Method::OPTIONS {
            return match parts.method {
                Method::OPTIONS => Ok(options::options()),
                _ => Err(Refusal::bad_request("* is for OPTIONS")),
            };
        }
        let writes = match parts.method.as_str() {
            "GET" | "HEAD" | "PROPFIND" => false,
            "PUT" | "PROPPATCH" | "MKCOL" | "DELETE" | "COPY" | "MOVE" | "LOCK" | "UNLOCK" => true,
            _ => return Err(Refusal::method_not_allowed("the drive does not do that", options::METHODS)),
        };
        let url = UrlPath::parse(parts.uri.path())?;
        if writes && !principal.may_write {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "this user may read only"));
        }
        let fresh = self.drive.refresh().await;
        if writes && !fresh {
            return Err(Refusal::unavailable("too few agents are up to agree on changes"));
        }
        let answer = self.answer_as_known(principal, parts, url, body).await;
        if fresh {
            return answer;
        }
        // That nothing is there may be as stale as what is.
        let mut response = answer.unwrap_or_else(|refusal| refusal.response());
        let headers = response.headers_mut();
        headers.insert(WARNING, HeaderValue::from_static("110 - \"Response is Stale\""));
        headers.insert(HeaderName::from_static("x-shoal-stale"), HeaderValue::from_static("1"));
        Ok(response)
    }

    /// Answers from the local copy of the ledger as it is.
    async fn answer_as_known(
        &self,
        principal: Principal,
        parts: &mut http::request::Parts,
        url: UrlPath,
        body: &mut Incoming,
    ) -> Result<Response<Body>, Refusal> {
        let fail = |error: DriveError| Refusal::of_drive(&error, parts.method.as_str(), &[]);
        let volumes = self.drive.volumes().map_err(fail)?;
        let request = Arc::new(Request {
            drive: self.drive.clone(),
            config: Arc::clone(&self.config),
            stats: Arc::clone(&self.stats),
            place: Request::place_of(&self.drive, &volumes, &url)?,
            method: parts.method.clone(),
            headers: std::mem::take(&mut parts.headers),
            url,
            volumes,
            user: principal.name,
        });
        dispatch(&request, body).await
    }

    fn finish(&self, response: &mut Response<Body>, id: &str, method: &Method) {
        let status = response.status();
        let length_bytes = response.body().length_bytes();
        if method == Method::HEAD {
            *response.body_mut() = Body::empty();
        }
        let headers = response.headers_mut();
        let bodiless = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
        if let (Some(length_bytes), false) = (length_bytes, bodiless) {
            headers.entry(CONTENT_LENGTH).or_insert(HeaderValue::from(length_bytes));
        }
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Ok(value) = HeaderValue::from_str(id) {
            headers.insert(HeaderName::from_static("x-request-id"), value);
        }
    }
}

async fn dispatch(request: &Arc<Request>, body: &mut Incoming) -> Result<Response<Body>, Refusal> {
    match request.method.as_str() {
        "GET" | "HEAD" => get::get(request).await,
        "PUT" => put::put(request, body).await,
        "PROPFIND" => propfind::propfind(Arc::clone(request), &read(request, body).await?).await,
        "PROPPATCH" => proppatch::proppatch(request, &read(request, body).await?).await,
        "LOCK" => match read(request, body).await? {
            body if body.is_empty() => lock_refresh::refresh(request).await,
            body => library::answer(request, body).await,
        },
        _ => {
            let body = read(request, body).await?;
            library::answer(request, body).await
        }
    }
}

/// A whole body of bounded size.
async fn read(request: &Request, body: &mut Incoming) -> Result<Bytes, Refusal> {
    let limit_bytes = request.config.xml_limit_bytes;
    let too_large = || Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
    if body.size_hint().lower() > limit_bytes as u64 {
        return Err(too_large());
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = next_frame(body, request.config.stall_timeout).await? {
        let Ok(bytes) = frame.into_data() else { continue };
        request.stats.received(bytes.len());
        if whole.len() + bytes.len() > limit_bytes {
            return Err(too_large());
        }
        whole.extend_from_slice(&bytes);
    }
    Ok(whole.freeze())
}

/// Reads the rest of a body to no end. Returns at once; what reads on is bounded in bytes and time, and there is one of
/// it for each connection at most.
fn drain(mut body: Incoming, limit_bytes: usize) {
    if body.is_end_stream() {
        return;
    }
    let reading = async move {
        let mut read_bytes = 0;
        while read_bytes <= limit_bytes {
            match next_frame(&mut body, DRAIN_TIME).await {
                Ok(Some(frame)) => read_bytes += frame.data_ref().map_or(0, Bytes::len),
                _ => return,
            }
        }
    };
    tokio::spawn(tokio::time::timeout(DRAIN_TIME, reading));
}
