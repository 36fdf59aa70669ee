//! Who may sign in: passwords hashed with Argon2id in the ledger, and what keeps a signed-in client cheap and a guesser
//! slow.
//!
//! WebDAV clients send name and password with every request. A pair that was verified once is remembered as a BLAKE3
//! under a key of this run, together with the hash it matched; the next request costs microseconds, and a changed
//! password or a removed user is noticed at once because the ledger's row is compared each time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use shoal_dav::Throttle;
use shoal_ledger::{LedgerClient, UserRecord, query};
use tokio::sync::Semaphore;

use crate::AgentError;
use crate::data_directory::{Secret, random_secret};

/// Memory, passes and lanes of Argon2id: the second choice of the OWASP cheat sheet, 12 MiB.
const ARGON2_MEMORY_KIB: u32 = 12 * 1024;
const ARGON2_PASSES: u32 = 3;
const ARGON2_LANES: u32 = 1;
/// Passwords hashed at once, at most: bounds memory to 24 MiB.
const HASHES_AT_ONCE: usize = 2;
/// Sign-ins that wait for their turn, at most; one more is turned away.
const HASHES_WAITING: usize = 64;
/// Verified pairs remembered, at most; the oldest half goes when it is reached.
const REMEMBERED: usize = 1024;
/// Who is to slow down and shows a password that was not found right before waits this long for the answer.
const MISS_WAIT: Duration = Duration::from_millis(500);
/// So many wait at a time, at most; one more is turned away unlooked at. Bounds guessing to eight a second.
const MISSES_AT_ONCE: usize = 4;
/// Bytes of a user's name or password, at most; longer is wrong unread.
const INPUT_LIMIT_BYTES: usize = 1024;
/// The fewest characters of a password.
const PASSWORD_MINIMUM: usize = 8;
/// Letters of a made-up password: no two that look alike, 32 of them, so 5 bits each.
const PASSWORD_LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Letters of a made-up password: 120 bits.
const PASSWORD_LENGTH: usize = 24;
/// A hyphen after so many letters.
const PASSWORD_GROUP: usize = 4;

/// Why a sign-in failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// User or password is wrong; which is not told.
    #[error("user or password is wrong")]
    Wrong,
    /// Too many wrong ones; none is looked at for so long.
    #[error("too many wrong passwords; wait {} s", .0.as_secs().max(1))]
    SlowDown(Duration),
    /// It cannot be checked now.
    #[error("signing in is not possible now: {0}")]
    Unavailable(String),
}

/// Who may sign in.
pub struct Credentials {
    ledger: Arc<dyn LedgerClient>,
    run_key: Secret,
    local_token: String,
    turns: Semaphore,
    throttle: Throttle,
    verified: Mutex<HashMap<[u8; 32], Verified>>,
    /// Places for those who are to slow down and show a password all the same.
    misses: Semaphore,
}

struct Verified {
    password_hash: String,
    at: Instant,
}

impl Credentials {
    /// Of the users in a ledger.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub fn new(ledger: Arc<dyn LedgerClient>) -> Result<Self, AgentError> {
        let token = random_secret()?;
        let local_token = token.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            ledger,
            run_key: random_secret()?,
            local_token,
            turns: Semaphore::new(HASHES_AT_ONCE + HASHES_WAITING),
            throttle: Throttle::new(),
            verified: Mutex::default(),
            misses: Semaphore::new(MISSES_AT_ONCE),
        })
    }

    /// What signs in as admin on this computer during this run; it goes into a file that only the agent's owner reads.
    #[must_use]
    pub fn local_token(&self) -> &str {
        &self.local_token
    }

    /// Whether it is that token.
    #[must_use]
    pub fn is_local_token(&self, token: &str) -> bool {
        // Hashes under a secret key are compared: how long it takes tells nothing.
        blake3::keyed_hash(&self.run_key, token.as_bytes())
            == blake3::keyed_hash(&self.run_key, self.local_token.as_bytes())
    }

    /// Checks name and password of someone at `remote`.
    ///
    /// # Errors
    /// If they are wrong, too many were wrong, or it cannot be checked.
    pub async fn sign_in(&self, user: &str, password: &str, remote: IpAddr) -> Result<UserRecord, SignInError> {
        if user.len() > INPUT_LIMIT_BYTES || password.len() > INPUT_LIMIT_BYTES {
            return Err(SignInError::Wrong);
        }
        if let Err(wait) = self.throttle.check(remote, user, Instant::now()) {
            return self.look_again(user, password).await?.ok_or(SignInError::SlowDown(wait));
        }
        let record = self.record(user)?;
        let digest = self.digest(user, password);
        if let Some(record) = record.as_ref().filter(|record| self.is_verified(&digest, record)) {
            return Ok(record.clone());
        }
        let matches = self.verify(record.as_ref(), password).await?;
        match record.filter(|_| matches) {
            Some(record) => {
                self.remember(digest, &record);
                self.throttle.succeeded(remote, user);
                Ok(record)
            }
            None => {
                self.throttle.failed(remote, user, Instant::now());
                Err(SignInError::Wrong)
            }
        }
    }

    /// Lets in who is to slow down but shows a password that was found right before: a forgotten client with an old
    /// password must not shut its user out. Whoever shows another one waits, so that this is no way to guess faster.
    async fn look_again(&self, user: &str, password: &str) -> Result<Option<UserRecord>, SignInError> {
        let Ok(_place) = self.misses.try_acquire() else { return Ok(None) };
        let digest = self.digest(user, password);
        let known = self.record(user)?.filter(|record| self.is_verified(&digest, record));
        if known.is_none() {
            tokio::time::sleep(MISS_WAIT).await;
        }
        Ok(known)
    }

    fn record(&self, user: &str) -> Result<Option<UserRecord>, SignInError> {
        let unavailable = |error: shoal_ledger::KvError| SignInError::Unavailable(error.to_string());
        query::user(&*self.ledger.view().map_err(unavailable)?, user).map_err(unavailable)
    }

    /// Hashes on a blocking thread, few at a time. An unknown user costs as much as a known one.
    async fn verify(&self, record: Option<&UserRecord>, password: &str) -> Result<bool, SignInError> {
        let busy = || SignInError::Unavailable("too many people are signing in".into());
        let _waiting = self.turns.try_acquire().map_err(|_| busy())?;
        let _turn = hashing_turns().acquire().await.map_err(|_| busy())?;
        let hash = record.map(|record| record.password_hash.clone());
        let password = zeroize::Zeroizing::new(password.to_owned());
        let check = move || match hash {
            Some(hash) => matches_hash(&password, &hash),
            None => hash_now(&password).is_err(),
        };
        tokio::task::spawn_blocking(check).await.map_err(|error| SignInError::Unavailable(error.to_string()))
    }

    fn digest(&self, user: &str, password: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.run_key);
        hasher.update(&(user.len() as u64).to_le_bytes()).update(user.as_bytes()).update(password.as_bytes());
        *hasher.finalize().as_bytes()
    }

    fn is_verified(&self, digest: &[u8; 32], record: &UserRecord) -> bool {
        self.verified().get(digest).is_some_and(|verified| verified.password_hash == record.password_hash)
    }

    fn remember(&self, digest: [u8; 32], record: &UserRecord) {
        let mut verified = self.verified();
        if verified.len() >= REMEMBERED {
            let mut times: Vec<Instant> = verified.values().map(|verified| verified.at).collect();
            times.sort_unstable();
            let middle = times[times.len() / 2];
            verified.retain(|_, verified| verified.at > middle);
        }
        verified.insert(digest, Verified { password_hash: record.password_hash.clone(), at: Instant::now() });
    }

    fn verified(&self) -> MutexGuard<'_, HashMap<[u8; 32], Verified>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hash of a password, as the ledger keeps it.
///
/// # Errors
/// If it is too short or too long.
pub async fn hash_password(password: &str) -> Result<String, AgentError> {
    if password.chars().count() < PASSWORD_MINIMUM {
        return Err(AgentError::Password(format!("a password needs {PASSWORD_MINIMUM} characters or more")));
    }
    if password.len() > INPUT_LIMIT_BYTES {
        return Err(AgentError::Password(format!("a password has {INPUT_LIMIT_BYTES} bytes at most")));
    }
    let internal = |reason: String| AgentError::Internal(format!("hashing a password: {reason}"));
    let _turn = hashing_turns().acquire().await.map_err(|error| internal(error.to_string()))?;
    let password = zeroize::Zeroizing::new(password.to_owned());
    let hashed = tokio::task::spawn_blocking(move || hash_now(&password)).await;
    hashed.map_err(|error| internal(error.to_string()))?.map_err(internal)
}

/// A password nobody guesses, easy to read out: six groups of four letters.
#[must_use]
pub fn generate_password() -> String {
    let mut random = [0u8; PASSWORD_LENGTH];
    rand::fill(&mut random);
    let letters = random.iter().map(|byte| char::from(PASSWORD_LETTERS[usize::from(byte % 32)]));
    let mut password = String::new();
    for (index, letter) in letters.enumerate() {
        if index > 0 && index % PASSWORD_GROUP == 0 {
            password.push('-');
        }
        password.push(letter);
    }
    password
}

fn hashing_turns() -> &'static Semaphore {
    static TURNS: Semaphore = Semaphore::const_new(HASHES_AT_ONCE);
    &TURNS
}

fn hash_now(password: &str) -> Result<String, String> {
    let parameters = Params::new(ARGON2_MEMORY_KIB, ARGON2_PASSES, ARGON2_LANES, None);
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters.map_err(|error| error.to_string())?);
    let mut salt = [0u8; 16];
    rand::fill(&mut salt);
    let salt = SaltString::encode_b64(&salt).map_err(|error| error.to_string())?;
    argon2.hash_password(password.as_bytes(), &salt).map(|hash| hash.to_string()).map_err(|error| error.to_string())
}

fn matches_hash(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use dci_proto::{AgentId, PoolId};
    use shoal_ledger::{AgentRecord, AgentRoles, AgentState, Command, LocalLedger, UserRole};

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    async fn ledger() -> Arc<LocalLedger> {
        let ledger = Arc::new(LocalLedger::new());
        let first = AgentRecord {
            id: AgentId([1; 32]),
            name: "one".into(),
            control_addresses: Vec::new(),
            data_addresses: Vec::new(),
            roles: AgentRoles::default(),
            state: AgentState::Active,
            site: String::new(),
            capacity_bytes: 0,
            version: "0".into(),
            joined_ms: 0,
        };
        let pool = Command::CreatePool { id: PoolId([1; 16]), name: "pool".into(), survive: 2, first };
        ledger.submit(pool).await.expect("a pool");
        ledger
    }

    async fn put_user(ledger: &LocalLedger, password: &str) {
        let password_hash = hash_password(password).await.expect("hashes");
        let user = UserRecord { name: "ana".into(), password_hash, role: UserRole::Admin, created_ms: 0 };
        ledger.submit(Command::PutUser(user)).await.expect("a user");
    }

    #[tokio::test]
    async fn the_right_password_signs_in_and_a_changed_one_is_noticed_at_once() {
        let ledger = ledger().await;
        put_user(&ledger, "correct horse").await;
        let credentials = Credentials::new(ledger.clone()).expect("credentials");
        for _ in 0..3 {
            assert_eq!(credentials.sign_in("ana", "correct horse", HERE).await.expect("signs in").name, "ana");
        }
        put_user(&ledger, "battery staple").await;
        assert_eq!(credentials.sign_in("ana", "correct horse", HERE).await, Err(SignInError::Wrong));
        credentials.sign_in("ana", "battery staple", HERE).await.expect("signs in");
        assert_eq!(credentials.sign_in("bob", "battery staple", HERE).await, Err(SignInError::Wrong));
    }

    #[tokio::test]
    async fn a_remembered_password_costs_microseconds() {
        let ledger = ledger().await;
        put_user(&ledger, "correct horse").await;
        let credentials = Credentials::new(ledger).expect("credentials");
        credentials.sign_in("ana", "correct horse", HERE).await.expect("signs in");
        let begin = Instant::now();
        for _ in 0..1000 {
            credentials.sign_in("ana", "correct horse", HERE).await.expect("signs in");
        }
        // Hashing a thousand times would take more than ten seconds on any computer.
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    }

    #[tokio::test]
    async fn guessers_are_slowed_down_and_others_are_not() {
        let ledger = ledger().await;
        put_user(&ledger, "correct horse").await;
        let credentials = Credentials::new(ledger).expect("credentials");
        for guess in 0..6 {
            let answer = credentials.sign_in("ana", &format!("guess {guess}"), HERE).await;
            assert_eq!(answer, Err(SignInError::Wrong), "guess {guess}");
        }
        let answer = credentials.sign_in("ana", "correct horse", HERE).await;
        assert!(matches!(answer, Err(SignInError::SlowDown(_))), "{answer:?}");
        let elsewhere = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
        credentials.sign_in("ana", "correct horse", elsewhere).await.expect("signs in");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_with_an_old_password_does_not_shut_its_user_out() {
        let ledger = ledger().await;
        put_user(&ledger, "correct horse").await;
        let credentials = Credentials::new(ledger).expect("credentials");
        credentials.sign_in("ana", "correct horse", HERE).await.expect("signs in");
        while !matches!(credentials.sign_in("ana", "an old one", HERE).await, Err(SignInError::SlowDown(_))) {}
        for _ in 0..1000 {
            credentials.sign_in("ana", "correct horse", HERE).await.expect("signs in all the same");
        }
        // But nobody guesses any faster by that: a guess waits, and guesses beyond a few at once are not looked at.
        let begin = tokio::time::Instant::now();
        let guesses = (0..20).map(|_| credentials.sign_in("ana", "a guess", HERE));
        let guessed = futures::future::join_all(guesses).await;
        assert!(guessed.iter().all(|guess| matches!(guess, Err(SignInError::SlowDown(_)))), "{guessed:?}");
        assert_eq!(begin.elapsed(), MISS_WAIT);
    }

    #[tokio::test]
    async fn passwords_too_short_are_refused_and_made_up_ones_are_long() {
        assert!(hash_password("short").await.is_err());
        let password = generate_password();
        assert_eq!((password.len(), password.matches('-').count()), (29, 5));
        assert_ne!(password, generate_password());
    }
}
