//! TLS of the doors people use: loopback in clear, everything else encrypted, with a certificate the admin gave or one
//! the agent makes for itself once.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::AgentError;
use crate::config::TlsFiles;
use crate::secret_file;

/// Days the agent's own certificate is good for: Apple's systems refuse more than 825.
const VALID_DAYS: i64 = 820;
/// It is made anew, at a start, when it is older than this.
const RENEW_AFTER: std::time::Duration = std::time::Duration::from_secs(730 * 24 * 3600);
/// Names in a made certificate, at most.
const NAMES_LIMIT: usize = 32;

/// Certificate and key for doors that listen beyond loopback. Made or read when first asked for.
pub struct DoorTls {
    directory: PathBuf,
    given: Option<TlsFiles>,
    names: Vec<String>,
    config: OnceLock<Arc<ServerConfig>>,
}

impl DoorTls {
    /// Of an agent with this data directory, reached under these names and addresses.
    #[must_use]
    pub fn new(data: &Path, given: Option<TlsFiles>, names: Vec<String>) -> Self {
        Self { directory: data.join("tls"), given, names, config: OnceLock::new() }
    }

    /// What a door at an address has to speak; `None`: clear text.
    ///
    /// # Errors
    /// If certificate or key cannot be read or made.
    pub fn for_address(&self, address: SocketAddr) -> Result<Option<Arc<ServerConfig>>, AgentError> {
        if is_loopback(address.ip()) {
            return Ok(None);
        }
        if let Some(config) = self.config.get() {
            return Ok(Some(config.clone()));
        }
        let config = Arc::new(self.load()?);
        Ok(Some(self.config.get_or_init(|| config).clone()))
    }

    fn load(&self) -> Result<ServerConfig, AgentError> {
        let (certificate, key) = match &self.given {
            Some(files) => (required(&files.certificate)?, required(&files.key)?),
            None => self.own()?,
        };
        let bad = |what: &str, error: &dyn std::fmt::Display| AgentError::Tls(format!("{what}: {error}"));
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&certificate)
            .collect::<Result<_, _>>()
            .map_err(|error| bad("the certificate", &error))?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| bad("the key", &error))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| bad("versions", &error))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| bad("certificate and key", &error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// The agent's own certificate; made once. The key is written last: without it both are made anew.
    fn own(&self) -> Result<(Vec<u8>, Vec<u8>), AgentError> {
        let (certificate_path, key_path) = (self.directory.join("certificate.pem"), self.directory.join("key.pem"));
        let kept = (secret_file::read(&certificate_path)?, secret_file::read(&key_path)?);
        if let (Some(certificate), Some(key)) = kept
            && !is_old(&certificate_path)
        {
            return Ok((certificate, key));
        }
        let made = std::fs::create_dir_all(&self.directory);
        made.map_err(|error| AgentError::directory("make", &self.directory, &error))?;
        let names: Vec<String> = self.names.iter().take(NAMES_LIMIT).cloned().collect();
        let failed = |error: rcgen::Error| AgentError::Tls(format!("making a certificate: {error}"));
        let key = rcgen::KeyPair::generate().map_err(failed)?;
        let certificate = parameters(names).and_then(|parameters| parameters.self_signed(&key)).map_err(failed)?;
        let (certificate, key) = (certificate.pem().into_bytes(), key.serialize_pem().into_bytes());
        secret_file::replace(&certificate_path, &certificate)?;
        secret_file::replace(&key_path, &key)?;
        Ok((certificate, key))
    }
}

/// What the agent's own certificate says.
fn parameters(names: Vec<String>) -> Result<rcgen::CertificateParams, rcgen::Error> {
    let first = names.first().cloned().unwrap_or_default();
    let mut parameters = rcgen::CertificateParams::new(names)?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, format!("Shoal on {first}"));
    let now = time::OffsetDateTime::now_utc();
    parameters.not_before = now - time::Duration::days(1);
    parameters.not_after = now + time::Duration::days(VALID_DAYS);
    Ok(parameters)
}

/// Whether a certificate of our own must soon be made anew. One whose age cannot be told is kept.
fn is_old(path: &Path) -> bool {
    let age = std::fs::metadata(path).and_then(|about| about.modified()).ok().and_then(|made| made.elapsed().ok());
    age.is_some_and(|age| age > RENEW_AFTER)
}

/// Whether an address never leaves this computer.
#[must_use]
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn required(path: &Path) -> Result<Vec<u8>, AgentError> {
    secret_file::read(path)?.ok_or_else(|| AgentError::Tls(format!("{} is not there", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn loopback_is_clear_and_all_else_encrypted_with_a_certificate_that_stays() {
        let folder = tempfile::tempdir().expect("folder");
        let door = DoorTls::new(folder.path(), None, vec!["pc-1".into(), "192.0.2.1".into()]);
        for clear in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(door.for_address(address(clear)).expect("clear").is_none(), "{clear}");
        }
        assert!(!folder.path().join("tls").exists(), "nothing is made before it is needed");
        assert!(door.for_address(address("0.0.0.0:1")).expect("made").is_some());
        let made = std::fs::read(folder.path().join("tls/certificate.pem")).expect("kept");
        let again = DoorTls::new(folder.path(), None, vec!["pc-2".into()]);
        assert!(again.for_address(address("192.0.2.1:1")).expect("read").is_some());
        assert_eq!(std::fs::read(folder.path().join("tls/certificate.pem")).expect("kept"), made);
    }

    #[test]
    fn a_given_certificate_that_is_not_there_is_told() {
        let folder = tempfile::tempdir().expect("folder");
        let files = TlsFiles { certificate: folder.path().join("none.pem"), key: folder.path().join("none.key") };
        let error = DoorTls::new(folder.path(), Some(files), Vec::new()).for_address(address("0.0.0.0:1"));
        let error = error.expect_err("refused").to_string();
        assert!(error.contains("none.pem is not there"), "{error}");
    }
}
