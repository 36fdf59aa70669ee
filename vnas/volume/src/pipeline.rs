//! The chunks of one upload in the works: several at a time, told to the ledger in order.
//!
//! It runs as a task of its own, so that chunks are finished and staged, and their memory freed, even while the
//! client is silent.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::stream::{FuturesOrdered, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::DriveError;
use crate::shared::{KeepPolicy, Shared};
use crate::staging::StagedUpload;
use crate::upload::{StoredChunk, store_chunk};

/// A full chunk and its share of the memory.
struct Job {
    plain: Bytes,
    permit: OwnedSemaphorePermit,
}

/// A chunk that is stored; one that the pool knew keeps its bytes, and so its share of the memory, until it is staged.
struct Done {
    stored: StoredChunk,
    permit: Option<OwnedSemaphorePermit>,
}

/// The chunks of an upload once all are stored.
#[derive(Default)]
pub(crate) struct Finished {
    /// The upload under which chunks were staged, if any were.
    pub(crate) staged: Option<StagedUpload>,
    /// The chunks after those.
    pub(crate) rest: Vec<StoredChunk>,
}

/// The chunks of one upload. Dropped, everything under way is given up.
pub(crate) struct Pipeline {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
    task: AbortOnDropHandle<Result<Finished, DriveError>>,
}

impl Pipeline {
    pub(crate) fn start(shared: &Arc<Shared>, policy: KeepPolicy) -> Self {
        let (jobs, queue) = mpsc::channel(1);
        let works = Works {
            shared: Arc::clone(shared),
            policy,
            working: FuturesOrdered::new(),
            finished: Vec::new(),
            staged: None,
        };
        let task = AbortOnDropHandle::new(tokio::spawn(works.run(queue)));
        Self { shared: Arc::clone(shared), jobs, task }
    }

    /// Takes the next chunk; waits while too many are in the works.
    pub(crate) async fn push(&mut self, plain: Bytes) -> Result<(), DriveError> {
        let permit =
            Arc::clone(&self.shared.work).acquire_owned().await.map_err(|_| DriveError::Interrupted("the drive"))?;
        if self.jobs.send(Job { plain, permit }).await.is_ok() {
            return Ok(());
        }
        // The task has ended early, which it does only with an error.
        match (&mut self.task).await {
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) | Err(_) => Err(DriveError::Interrupted("an upload")),
        }
    }

    /// Waits until all chunks are stored.
    pub(crate) async fn finish(self) -> Result<Finished, DriveError> {
        drop(self.jobs);
        self.task.await.map_err(|_| DriveError::Interrupted("an upload"))?
    }
}

/// The task behind a [`Pipeline`].
struct Works {
    shared: Arc<Shared>,
    policy: KeepPolicy,
    working: FuturesOrdered<AbortOnDropHandle<Result<Done, DriveError>>>,
    finished: Vec<Done>,
    staged: Option<StagedUpload>,
}

impl Works {
    async fn run(mut self, mut queue: mpsc::Receiver<Job>) -> Result<Finished, DriveError> {
        let mut open = true;
        while open || !self.working.is_empty() {
            tokio::select! {
                biased;
                Some(done) = self.working.next() => {
                    self.finished.push(done.map_err(|_| DriveError::Interrupted("a chunk"))??);
                    while let Some(Some(done)) = self.working.next().now_or_never() {
                        self.finished.push(done.map_err(|_| DriveError::Interrupted("a chunk"))??);
                    }
                    self.stage_if_due().await?;
                }
                job = queue.recv(), if open && self.working.len() < self.shared.chunks_in_flight => match job {
                    Some(job) => self.begin(job),
                    None => open = false,
                },
            }
        }
        let rest = self.finished.into_iter().map(|done| done.stored).collect();
        Ok(Finished { staged: self.staged, rest })
    }

    fn begin(&mut self, job: Job) {
        let (shared, policy) = (Arc::clone(&self.shared), self.policy);
        self.working.push_back(AbortOnDropHandle::new(tokio::spawn(async move {
            let stored = store_chunk(&shared, policy, job.plain, false).await?;
            let permit = stored.known.is_some().then_some(job.permit);
            Ok(Done { stored, permit })
        })));
    }

    /// Chunks are staged when there are many, and at once when the pool knew one: only a reference keeps it there, and
    /// its bytes are at hand only now.
    async fn stage_if_due(&mut self) -> Result<(), DriveError> {
        let known = self.finished.iter().any(|done| done.stored.known.is_some());
        if !known && self.finished.len() < self.shared.stage_after_chunks {
            return Ok(());
        }
        let mut staged = match self.staged.take() {
            Some(staged) => staged,
            None => StagedUpload::begin(&self.shared).await?,
        };
        let (chunks, permits): (Vec<_>, Vec<_>) =
            self.finished.drain(..).map(|done| (done.stored, done.permit)).unzip();
        staged.stage(self.policy, chunks).await?;
        drop(permits);
        self.staged = Some(staged);
        Ok(())
    }
}
