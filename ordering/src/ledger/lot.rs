use contract::{Reason, Rejection};

use super::{Verdict, Work};

/// A command on its way through rounds of deciding and appending.
enum Progress {
    Waiting,
    /// Its events are in a record that is being appended; the last one is at this index.
    Added {
        last_event: u32,
    },
    Done(Box<Verdict>),
}

/// A decision against the command at an index.
pub(super) struct Refusal {
    pub index: usize,
    pub rejection: Rejection,
}

/// Commands that are carried out together, and how far each of them is.
pub(super) struct Lot<'a> {
    works: &'a [Work],
    progress: Vec<Progress>,
}

impl<'a> Lot<'a> {
    pub fn of(works: &'a [Work]) -> Self {
        let progress = works.iter().map(|_| Progress::Waiting).collect();
        Self { works, progress }
    }

    pub fn works(&self) -> &'a [Work] {
        self.works
    }

    /// Those that wait to be decided, by index.
    pub fn waiting(&self) -> impl Iterator<Item = (usize, &'a Work)> {
        let all = self.works.iter().enumerate().zip(&self.progress);
        all.filter_map(|(work, progress)| matches!(progress, Progress::Waiting).then_some(work))
    }

    /// The index of a command's last event, if its events are in the record that is being appended.
    pub fn added(&self, index: usize) -> Option<u32> {
        match self.progress[index] {
            Progress::Added { last_event } => Some(last_event),
            Progress::Waiting | Progress::Done(_) => None,
        }
    }

    pub fn is_done(&self) -> bool {
        let mut all = self.progress.iter();
        all.all(|progress| matches!(progress, Progress::Done(_)))
    }

    pub fn add(&mut self, index: usize, last_event: u32) {
        self.progress[index] = Progress::Added { last_event };
    }

    pub fn settle(&mut self, index: usize, verdict: Verdict) {
        self.progress[index] = Progress::Done(Box::new(verdict));
    }

    pub fn refuse(&mut self, refusals: Vec<Refusal>) {
        for Refusal { index, rejection } in refusals {
            self.settle(index, Err(rejection));
        }
    }

    /// Whatever is not done is refused for the same reason.
    pub fn refuse_rest(&mut self, rejection: &Rejection) {
        for progress in &mut self.progress {
            if !matches!(progress, Progress::Done(_)) {
                *progress = Progress::Done(Box::new(Err(rejection.clone())));
            }
        }
    }

    /// What was decided for a record that did not land has to be decided again.
    pub fn wait_again(&mut self) {
        for progress in &mut self.progress {
            if matches!(progress, Progress::Added { .. }) {
                *progress = Progress::Waiting;
            }
        }
    }

    /// One for each command, in their order.
    pub fn verdicts(self) -> Vec<Verdict> {
        let verdict = |progress| match progress {
            Progress::Done(verdict) => *verdict,
            Progress::Waiting | Progress::Added { .. } => Err(Rejection::new(
                Reason::Internal,
                "a command was left undecided",
            )),
        };
        self.progress.into_iter().map(verdict).collect()
    }
}
