//! What is asked of a store's task, and who waits for the answer.

use std::sync::Arc;

use contract::{Reason, Rejection, StoreId};
use jiff::Timestamp;
use runtime::TraceContext;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::membership::Presented;
use crate::catalog::Store;
use crate::domain::{Actor, Command, CommandId, ContentHash, MemberStanding};
use crate::ledger::{Stated, Verdict, Work};

/// What a caller wants of a store.
pub struct Call {
    pub command: Command,
    pub actor: Actor,
    /// `None`: the store is not in the catalog.
    pub store: Option<Arc<Store>>,
    pub stated: Option<Stated>,
    /// Why the command cannot be carried out; told only if it is not recorded already.
    pub refusal: Option<Rejection>,
    /// Has to be asked for before the command is decided, unless it is recorded already.
    pub membership: Option<MembershipQuestion>,
}

/// Who is said to be a member.
pub struct MembershipQuestion {
    pub presented: Presented,
    /// Of the call that says so.
    pub trace: TraceContext,
}

impl From<Work> for Call {
    fn from(work: Work) -> Self {
        Self {
            command: work.command,
            actor: work.actor,
            store: Some(work.store),
            stated: work.stated,
            refusal: work.refusal,
            membership: None,
        }
    }
}

impl Call {
    /// Puts into the command what the member service has said of whom it names.
    pub fn take_answer(&mut self, standing: MemberStanding) {
        match (&mut self.command, standing) {
            (Command::PlaceOrder(order), standing) => order.membership = Some(standing),
            (
                Command::AttachMember(command),
                MemberStanding::Member {
                    tier,
                    points_rate_bp,
                    ..
                },
            ) => {
                command.tier = tier;
                command.points_rate_bp = points_rate_bp;
            }
            (Command::AttachMember(command), MemberStanding::NotMember) => {
                let member_id = command.member_id;
                let message = format!("there is no member {member_id}");
                let refusal = Rejection::field(Reason::UnknownMember, "member_id", message)
                    .with("member_id", member_id);
                self.refusal = Some(refusal);
            }
            (Command::AttachMember(_), MemberStanding::Unverified(_)) => {
                self.refusal = Some(Rejection::new(
                    Reason::MemberUnavailable,
                    Reason::MemberUnavailable.meaning(),
                ));
            }
            _ => {}
        }
    }

    /// What the ledger is to carry out; `left`: the store's own settings, for one that has left the catalog. `None`: there is no such store.
    pub fn into_work(self, left: Option<&Arc<Store>>) -> Option<Work> {
        Some(Work {
            store: self.store.or_else(|| left.cloned())?,
            command: self.command,
            actor: self.actor,
            stated: self.stated,
            refusal: self.refusal,
        })
    }
}

/// A call with whoever waits for its verdict.
pub struct Waiting {
    pub call: Box<Call>,
    pub deadline: Instant,
    pub reply: oneshot::Sender<Verdict>,
}

impl Waiting {
    /// Whoever has stopped waiting was told that the outcome is unknown; doing nothing is a legal outcome.
    pub fn is_abandoned(&self) -> bool {
        self.reply.is_closed() || self.deadline <= Instant::now()
    }

    pub fn refuse(self, rejection: Rejection) {
        let _ = self.reply.send(Err(rejection));
    }
}

/// Asks what became of a command.
pub struct OutcomeQuestion {
    pub id: CommandId,
    /// `None`: whatever its content.
    pub hash: Option<ContentHash>,
    /// Other instances' records included.
    pub now: bool,
    pub reply: oneshot::Sender<Result<CommandOutcome, Rejection>>,
}

/// What became of a command.
pub struct CommandOutcome {
    /// `None`: it is not recorded.
    pub verdict: Option<Verdict>,
    /// Up to which revision that is known.
    pub revision: u64,
}

/// What the sweep has left of a store.
pub struct Swept {
    /// The ledger's last revision.
    pub revision: u64,
    /// When the day that is open has been over for an hour; `None`: no day is open.
    pub due: Option<Timestamp>,
}

/// What a store's task is asked for.
pub enum Request {
    Execute(Waiting),
    Outcome(OutcomeQuestion),
    /// To close the open day if it has been over for an hour. Without an answer it could not be done.
    Sweep {
        reply: oneshot::Sender<Swept>,
    },
}

/// Requests that have queued up, by kind.
#[derive(Default)]
pub struct Requests {
    pub calls: Vec<Waiting>,
    pub questions: Vec<OutcomeQuestion>,
    pub sweeps: Vec<oneshot::Sender<Swept>>,
}

impl Requests {
    /// Sorts requests; those that nobody waits for any more are dropped.
    pub fn of(requests: impl Iterator<Item = Request>) -> Self {
        let mut sorted = Self::default();
        for request in requests {
            match request {
                Request::Execute(call) if call.is_abandoned() => {}
                Request::Execute(call) => sorted.calls.push(call),
                Request::Outcome(question) => sorted.questions.push(question),
                Request::Sweep { reply } => sorted.sweeps.push(reply),
            }
        }
        sorted
    }

    /// Tells everybody the same. Whoever sweeps gets no answer, and tries again.
    pub fn refuse(self, rejection: &Rejection) {
        refuse_all(self.calls, rejection);
        for question in self.questions {
            let _ = question.reply.send(Err(rejection.clone()));
        }
    }
}

pub fn refuse_all(calls: Vec<Waiting>, rejection: &Rejection) {
    for call in calls {
        call.refuse(rejection.clone());
    }
}

/// No such store, neither in the catalog nor in the log; or one that has left the catalog and sells nothing any more.
pub fn unknown_store(id: &StoreId) -> Rejection {
    Rejection::new(Reason::UnknownStore, format!("there is no store {id}")).with("store_id", id)
}
