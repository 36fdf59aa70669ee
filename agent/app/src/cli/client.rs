//! Calling an agent's API.

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{Method, Request};

use super::{AgentChoice, CliError};
use crate::api::types::{ApiError, LocalCredentials};

/// How long an answer may take; what takes longer is asked for in steps.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of an answer, at most.
const ANSWER_LIMIT_BYTES: u64 = 64 * 1024 * 1024;

const UNAUTHORIZED: u16 = 401;

/// An agent's API, signed in.
pub(super) struct Client {
    pub(super) base: String,
    pub(super) authorization: String,
    pub(super) agent: ureq::Agent,
    /// Where the credentials of the agent of this machine lie.
    data: Option<PathBuf>,
}

impl Client {
    /// The API of the chosen agent, with the credentials that lie in its data directory or that the user gives.
    pub(super) fn open(choice: &AgentChoice) -> Result<Self, CliError> {
        Self::open_for(choice, ANSWER_DEADLINE)
    }

    /// The same, for answers that may take longer.
    pub(super) fn open_for(choice: &AgentChoice, answer_deadline: Duration) -> Result<Self, CliError> {
        // The agent of this machine is known by its port and its token, which is new at every start; its certificate may
        // be its own. Another machine's must be proved.
        let tls = ureq::tls::TlsConfig::builder().disable_verification(choice.api.is_none()).build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(answer_deadline))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .build()
            .new_agent();
        let (base, authorization, data) = match &choice.api {
            Some(api) => (api.trim_end_matches('/').to_owned(), basic(&choice.user, &password()?), None),
            None => {
                let data = choice.data.clone().unwrap_or_else(crate::config::default_data_directory);
                let (base, authorization) = local(&data)?;
                (base, authorization, Some(data))
            }
        };
        Ok(Self { base, authorization, agent, data })
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        self.call(Method::GET, path, &())
    }

    pub(super) fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        self.answer(path, self.request(method, path, body)?)
    }

    /// Hands in bytes as they are.
    pub(super) fn put<T: DeserializeOwned>(&self, path: &str, bytes: Vec<u8>) -> Result<T, CliError> {
        self.answer(path, self.request_of(Method::PUT, path, "application/octet-stream", bytes)?)
    }

    fn answer<T: DeserializeOwned>(&self, path: &str, request: Request<Vec<u8>>) -> Result<T, CliError> {
        let again = request.clone();
        let (mut status, mut text) = self.send(request)?;
        if status == UNAUTHORIZED
            && let Some(newer) = self.with_newer_token(again)
        {
            (status, text) = self.send(newer)?;
        }
        if !(200..300).contains(&status) {
            return Err(refusal(status, &text));
        }
        let text = if text.is_empty() { "null" } else { &text };
        serde_json::from_str(text).map_err(|error| CliError::Failed(format!("the agent's answer to {path}: {error}")))
    }

    fn send(&self, request: Request<Vec<u8>>) -> Result<(u16, String), CliError> {
        let failed = |reason: String| CliError::NoAgent { address: self.base.clone(), reason };
        let mut response = self.agent.run(request).map_err(|error| failed(error.to_string()))?;
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(ANSWER_LIMIT_BYTES).read_to_string();
        Ok((status, text.map_err(|error| failed(error.to_string()))?))
    }

    /// The same call for an agent that was just starting: it listened before its new token lay there.
    fn with_newer_token(&self, mut request: Request<Vec<u8>>) -> Option<Request<Vec<u8>>> {
        let (base, authorization) = local(self.data.as_ref()?).ok()?;
        if base != self.base || authorization == self.authorization {
            return None;
        }
        request.headers_mut().insert("Authorization", authorization.parse().ok()?);
        Some(request)
    }

    /// A call, signed in; only one that is no GET has a body.
    pub(super) fn request(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Request<Vec<u8>>, CliError> {
        let bytes = if method == Method::GET {
            Vec::new()
        } else {
            serde_json::to_vec(body).map_err(|error| CliError::Failed(error.to_string()))?
        };
        self.request_of(method, path, "application/json", bytes)
    }

    fn request_of(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        bytes: Vec<u8>,
    ) -> Result<Request<Vec<u8>>, CliError> {
        Request::builder()
            .method(method)
            .uri(format!("{}/api/v1/{path}", self.base))
            .header("Authorization", &self.authorization)
            .header("Content-Type", content_type)
            .body(bytes)
            .map_err(|error| CliError::Usage(error.to_string()))
    }
}

/// What an agent that did not do it says.
pub(super) fn refusal(status: u16, text: &str) -> CliError {
    let error = serde_json::from_str(text).unwrap_or_else(|_| ApiError::new(format!("status {status}: {text}")));
    CliError::Api { status, error }
}

impl Client {
    /// Bytes from an offset on, as they come. They may take long, so only silence ends them.
    pub(super) fn open_from(&self, path: &str, offset: u64) -> Result<impl std::io::Read + use<>, CliError> {
        let failed = |reason: String| CliError::NoAgent { address: self.base.clone(), reason };
        let request = self
            .agent
            .get(format!("{}/api/v1/{path}", self.base))
            .config()
            .timeout_global(None)
            .timeout_recv_response(Some(ANSWER_DEADLINE))
            .build()
            .header("Authorization", &self.authorization)
            .header("Range", format!("bytes={offset}-"));
        let mut response = request.call().map_err(|error| failed(error.to_string()))?;
        let status = response.status().as_u16();
        if !(200..300).contains(&status) {
            let text = response.body_mut().read_to_string().unwrap_or_default();
            let error =
                serde_json::from_str(&text).unwrap_or_else(|_| ApiError::new(format!("status {status}: {text}")));
            return Err(CliError::Api { status, error });
        }
        Ok(response.into_body().into_reader())
    }
}

fn local(data: &Path) -> Result<(String, String), CliError> {
    let file = data.join(LocalCredentials::FILE_NAME);
    let text = std::fs::read_to_string(&file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => CliError::NoCredentials(data.display().to_string()),
        _ => CliError::Failed(format!("cannot read {}: {error}", file.display())),
    })?;
    let credentials: LocalCredentials =
        serde_json::from_str(&text).map_err(|error| CliError::Failed(format!("{}: {error}", file.display())))?;
    Ok((credentials.api, format!("Bearer {}", credentials.token)))
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

fn password() -> Result<String, CliError> {
    if let Ok(password) = std::env::var("SHOAL_PASSWORD") {
        return Ok(password);
    }
    if std::io::stdin().is_terminal() {
        eprint!("Password: ");
    }
    line_of_stdin()
}

/// One line of standard input, without its end.
pub(super) fn line_of_stdin() -> Result<String, CliError> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| CliError::Failed(format!("cannot read standard input: {error}")))?;
    let line = line.trim_end_matches(['\r', '\n']).to_owned();
    if line.is_empty() {
        return Err(CliError::Usage("a password was expected on standard input".into()));
    }
    Ok(line)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test says what failed")]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;

    use super::*;

    /// An agent that has just begun to listen: its token is new, and lies there only after the first call came.
    fn starting(listener: TcpListener, data: PathBuf) -> Vec<String> {
        let mut tokens = Vec::new();
        while tokens.len() < 2 {
            let mut stream = std::io::BufReader::new(listener.accept().unwrap().0);
            let (mut line, mut token) = (String::new(), String::new());
            while stream.read_line(&mut line).unwrap() > 2 {
                if let Some(("authorization", value)) = line.to_lowercase().trim().split_once(": ") {
                    token = value.to_owned();
                }
                line.clear();
            }
            write_token(&data, &listener, "new");
            let status = if token == "bearer new" { "200 OK" } else { "401 Unauthorized" };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnull");
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
            tokens.push(token);
        }
        tokens
    }

    fn write_token(data: &Path, listener: &TcpListener, token: &str) {
        let api = format!("http://{}", listener.local_addr().unwrap());
        let credentials = serde_json::json!({ "api": api, "token": token }).to_string();
        std::fs::write(data.join(LocalCredentials::FILE_NAME), credentials).unwrap();
    }

    #[test]
    fn an_agent_that_was_just_started_is_asked_again_with_its_new_token() {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        write_token(folder.path(), &listener, "old");
        let data = folder.path().to_owned();
        let choice = AgentChoice { data: Some(data.clone()), api: None, user: "admin".to_owned() };
        let client = Client::open(&choice).unwrap();
        let agent = std::thread::spawn(move || starting(listener, data));
        client.get::<()>("status").unwrap();
        assert_eq!(agent.join().unwrap(), ["bearer old", "bearer new"]);
    }
}
