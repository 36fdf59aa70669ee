//! Calling an agent's API.

use std::io::{BufRead, IsTerminal};
use std::path::Path;
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

/// An agent's API, signed in.
pub(super) struct Client {
    base: String,
    authorization: String,
    agent: ureq::Agent,
}

impl Client {
    /// The API of the chosen agent, with the credentials that lie in its data directory or that the user gives.
    pub(super) fn open(choice: &AgentChoice) -> Result<Self, CliError> {
        // The agent of this machine is known by its port and its token, which is new at every start; its certificate may
        // be its own. Another machine's must be proved.
        let tls = ureq::tls::TlsConfig::builder().disable_verification(choice.api.is_none()).build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(ANSWER_DEADLINE))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .build()
            .new_agent();
        let (base, authorization) = match &choice.api {
            Some(api) => (api.trim_end_matches('/').to_owned(), basic(&choice.user, &password()?)),
            None => local(&choice.data.clone().unwrap_or_else(crate::config::default_data_directory))?,
        };
        Ok(Self { base, authorization, agent })
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
        let failed = |reason: String| CliError::NoAgent { address: self.base.clone(), reason };
        let bytes = if method == Method::GET {
            Vec::new()
        } else {
            serde_json::to_vec(body).map_err(|error| CliError::Failed(error.to_string()))?
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/api/v1/{path}", self.base))
            .header("Authorization", &self.authorization)
            .header("Content-Type", "application/json")
            .body(bytes)
            .map_err(|error| CliError::Usage(error.to_string()))?;
        let mut response = self.agent.run(request).map_err(|error| failed(error.to_string()))?;
        let status = response.status().as_u16();
        let text = response
            .body_mut()
            .with_config()
            .limit(ANSWER_LIMIT_BYTES)
            .read_to_string()
            .map_err(|error| failed(error.to_string()))?;
        if !(200..300).contains(&status) {
            let error =
                serde_json::from_str(&text).unwrap_or_else(|_| ApiError::new(format!("status {status}: {text}")));
            return Err(CliError::Api { status, error });
        }
        let text = if text.is_empty() { "null" } else { &text };
        serde_json::from_str(text).map_err(|error| CliError::Failed(format!("the agent's answer to {path}: {error}")))
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
