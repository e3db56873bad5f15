use std::collections::HashSet;

use bytes::Bytes;
use contract::event::{self as e, Event, RecordPayload, RecordedCommand, event::Event as Fact};
use contract::{BusinessDate, Reason, Rejection, encode_payload, timestamp_to_proto};
use event_log::{
    Header, LedgerName, MAX_PAYLOAD_BYTES, READER_VERSION, Record, RecordHash, Revision, Tip,
};
use jiff::Timestamp;
use prost::Message as _;
use uuid::Uuid;

use super::{MAX_COMMANDS_PER_RECORD, Work};
use crate::domain::business_day::{self, Moment};
use crate::domain::stamp::{Reading, Stamp};
use crate::domain::{
    Actor, CONTENT_HASH_VERSION, CloseBusinessDay, Command, ContentHash, EventMeta, Principal,
    StoreState, attach_member, cancel_order, change_status, count_drawer, optional_text,
    place_order, record_cash_movement, refund_order, resolve_membership,
};

/// The lowest reader that understands the events of this build.
const MIN_READER: u16 = READER_VERSION;
/// What a record's payload needs beside its commands.
const PAYLOAD_OVERHEAD_BYTES: usize = 256;
/// What a command has to leave for the opening of a day before it.
const OPENING_BYTES: usize = 16 * 1024;

/// One record in the making: commands decided one after another against the state that the ones before them left.
pub(super) struct Batch<'a> {
    state: StoreState,
    tip: Option<Tip>,
    name: &'a LedgerName,
    stamp: Stamp,
    new_ledger_id: Uuid,
    payload: RecordPayload,
    payload_bytes: usize,
    events: u32,
    closes_day: bool,
    ids: HashSet<Uuid>,
}

/// Events of a command, behind those that had to come before it: the close and opening of days.
struct Made {
    events: Vec<Fact>,
    /// How many are not the command's own.
    before: usize,
}

/// A record that is ready to be appended.
pub(super) struct Sealed {
    pub record: Record,
    /// What is in it.
    pub payload: RecordPayload,
    /// The ledger's state once it is stored.
    pub state: StoreState,
}

/// What deciding one command came to.
pub(super) enum Decided {
    /// Its events are in the batch; the last one is at this index.
    Added {
        last_event: u32,
    },
    /// Nothing needs to be recorded.
    Nothing,
    Rejected(Rejection),
    /// Its events contradict the state: the whole batch is void, and is decided again without this command.
    Poisoned(Rejection),
    /// Has to wait for the next record.
    Later,
}

impl<'a> Batch<'a> {
    /// `reading`: what two clocks say.
    pub fn begin(
        state: StoreState,
        tip: Option<Tip>,
        name: &'a LedgerName,
        reading: Reading,
    ) -> Self {
        let last = tip.and_then(|tip| Timestamp::from_microsecond(tip.chain.recorded_at_us).ok());
        let stamp = Stamp::after(last, reading);
        Self {
            state,
            tip,
            name,
            stamp,
            new_ledger_id: Uuid::new_v4(),
            payload: RecordPayload {
                software_version: env!("CARGO_PKG_VERSION").to_owned(),
                commands: Vec::new(),
                clocks: stamp.to_event(),
            },
            payload_bytes: PAYLOAD_OVERHEAD_BYTES,
            events: 0,
            closes_day: false,
            ids: HashSet::new(),
        }
    }

    /// Whether the next money command closes the open day first: it is past its end, or was opened too early.
    pub fn is_overdue(&self) -> bool {
        let moment = self.moment(&Actor::default());
        self.state.day.as_ref().is_some_and(|day| {
            moment.at >= day.end || business_day::runs_ahead(&self.state, day, &moment)
        })
    }

    pub fn decide(&mut self, work: &Work) -> Decided {
        if self.payload.commands.len() >= MAX_COMMANDS_PER_RECORD {
            return Decided::Later;
        }
        if work.command.id().is_some_and(|id| self.ids.contains(&id.0)) {
            // A repeat within one batch is answered once the first is recorded.
            return Decided::Later;
        }
        match self.check(work).and_then(|()| self.events_of(work)) {
            Ok(made) if made.events.is_empty() => Decided::Nothing,
            Ok(made) => self.add(work, made.events, made.before),
            Err(rejection) => Decided::Rejected(rejection),
        }
    }

    /// What stands in the way of a command, whatever it says: only now is it known not to be recorded.
    fn check(&self, work: &Work) -> Result<(), Rejection> {
        if let Some(refusal) = &work.refusal {
            return Err(refusal.clone());
        }
        let ledger = self.state.identity.map(|identity| identity.currency);
        let currency = ledger.unwrap_or(work.store.currency);
        match &work.stated {
            Some(stated) if stated.currency != currency => Err(stated.refusal(currency)),
            _ => Ok(()),
        }
    }

    fn moment(&self, actor: &Actor) -> Moment {
        let last = self
            .tip
            .map_or((0, [0; 32]), |tip| (tip.chain.revision.0, tip.chain.hash.0));
        Moment::new(&self.stamp, last, self.new_ledger_id, actor.client_time)
    }

    fn events_of(&self, work: &Work) -> Result<Made, Rejection> {
        let moment = self.moment(&work.actor);
        let alone = |events| Made { events, before: 0 };
        if !work.command.moves_money() || self.is_meant_for_open_day(&work.command) {
            return decide(&self.state, work, &moment).map(alone);
        }
        let mut events = business_day::prepare(&self.state, &work.store, &moment)?;
        if events.is_empty() {
            return decide(&self.state, work, &moment).map(alone);
        }
        let before = events.len();
        // The command is decided against the day that these events open, and all of it is recorded or nothing.
        let mut prepared = self.state.clone();
        for event in &events {
            prepared
                .evolve(event, &meta(&moment, 0, &work.actor, None))
                .map_err(|corrupt| Rejection::new(Reason::Internal, corrupt.to_string()))?;
        }
        events.extend(decide(&prepared, work, &moment)?);
        Ok(Made { events, before })
    }

    /// Cash that is moved on an overdue day, which the command names, belongs to it as long as it is not closed.
    fn is_meant_for_open_day(&self, command: &Command) -> bool {
        matches!((command, &self.state.day), (Command::RecordCashMovement(command), Some(day)) if day.date == command.business_date)
    }

    /// `before`: how many of the events are the system's own, which only lead up to the command.
    fn add(&mut self, work: &Work, events: Vec<Fact>, before: usize) -> Decided {
        let closes = events
            .iter()
            .position(|event| matches!(event, Fact::BusinessDayClosed(_)));
        if closes.is_some() && self.events > 0 {
            // A close is the first event of its record.
            return Decided::Later;
        }
        let moment = self.moment(&work.actor);
        // A close that does not fit beside what caused it goes alone.
        let lone_close = match events.as_slice() {
            [close @ Fact::BusinessDayClosed(_), _, ..] => Some(close.clone()),
            _ => None,
        };
        let commands = recorded_commands(work, events, closes.is_some(), &self.state, moment.at);
        let bytes: usize = commands
            .iter()
            .map(|command| command.encoded_len() + 8)
            .sum();
        if self.payload_bytes + bytes > MAX_PAYLOAD_BYTES {
            if self.payload.commands.is_empty() {
                if let (Some(close), Some(day)) = (lone_close, &self.state.day) {
                    return self.add_close(work, day.date, close);
                }
                return Decided::Rejected(self.too_large(&work.command, &commands, before));
            }
            return Decided::Later;
        }
        let request_id = work.command.id().map(|id| id.0);
        let facts = commands
            .iter()
            .flat_map(|command| &command.events)
            .filter_map(|event| event.event.as_ref());
        for (place, event) in facts.enumerate() {
            let meta = meta(&moment, self.events, &work.actor, request_id);
            if let Err(corrupt) = self.state.evolve(event, &meta) {
                // A day's sum that no longer fits: rare enough to decide the others again.
                let reason = if place < before || work.command.id().is_none() {
                    Reason::Internal
                } else {
                    Reason::AmountOutOfRange
                };
                return Decided::Poisoned(Rejection::new(reason, corrupt.detail));
            }
            self.events += 1;
        }
        self.closes_day |= closes.is_some();
        self.payload_bytes += bytes;
        self.ids.extend(work.command.id().map(|id| id.0));
        self.payload.commands.extend(commands);
        Decided::Added {
            last_event: self.events - 1,
        }
    }

    /// The close of an overdue day, without the command that caused it: they do not fit into one record. The command waits for the next.
    fn add_close(&mut self, cause: &Work, business_date: BusinessDate, close: Fact) -> Decided {
        let command = Command::CloseBusinessDay(CloseBusinessDay {
            business_date,
            manual: None,
        });
        match self.add(
            &Work {
                command,
                ..cause.clone()
            },
            vec![close],
            1,
        ) {
            Decided::Added { .. } => Decided::Later,
            other => other,
        }
    }

    /// Why events do not fit into a record of their own: the command is too large, or what the system has to say before it is.
    fn too_large(
        &self,
        command: &Command,
        commands: &[RecordedCommand],
        before: usize,
    ) -> Rejection {
        let events = commands.iter().flat_map(|command| &command.events);
        let own: usize = events
            .skip(before)
            .map(|event| event.encoded_len() + 8)
            .sum();
        let all: usize = commands.iter().map(RecordedCommand::encoded_len).sum();
        let is_order = !matches!(command, Command::CloseBusinessDay(_));
        if is_order && PAYLOAD_OVERHEAD_BYTES + own + OPENING_BYTES > MAX_PAYLOAD_BYTES {
            let message = format!(
                "the command's events take {own} bytes, a record holds {MAX_PAYLOAD_BYTES}"
            );
            return Rejection::new(Reason::OrderTooLarge, message);
        }
        tracing::error!(
            ledger = %self.name,
            bytes = all,
            of_the_command = own,
            most = MAX_PAYLOAD_BYTES,
            "what closes or opens the business day does not fit into a record"
        );
        Rejection::new(
            Reason::Internal,
            "the business day cannot be closed or opened for a reason of the server's own; nothing was recorded",
        )
    }

    /// The record with everything that was decided; `None` when that is nothing.
    pub fn seal(self) -> Result<Option<Sealed>, Rejection> {
        if self.payload.commands.is_empty() {
            return Ok(None);
        }
        let revision = self
            .tip
            .map_or(Revision::NONE, |tip| tip.chain.revision)
            .next();
        let header = Header {
            min_reader: MIN_READER,
            ledger_id: self
                .tip
                .map_or(self.new_ledger_id, |tip| tip.chain.ledger_id),
            ledger: self.name.clone(),
            revision,
            previous_hash: self.tip.map_or(RecordHash::NONE, |tip| tip.chain.hash),
            recorded_at: self.stamp.at,
            fold_from: if self.closes_day {
                revision
            } else {
                self.tip.map_or(Revision::NONE, |tip| tip.fold_from)
            },
        };
        let record = Record::seal(header, &encode_payload(&self.payload))
            .map_err(|error| Rejection::new(Reason::Internal, error.to_string()))?;
        let mut state = self.state;
        state.finish_record(record.hash().0);
        Ok(Some(Sealed {
            record,
            payload: self.payload,
            state,
        }))
    }
}

fn decide(state: &StoreState, work: &Work, moment: &Moment) -> Result<Vec<Fact>, Rejection> {
    let order = |id: contract::OrderId| {
        state.order(id).ok_or_else(|| {
            Rejection::new(Reason::UnknownOrder, format!("the store has no order {id}"))
                .with("order_id", id)
        })
    };
    match &work.command {
        Command::PlaceOrder(command) => place_order::decide(state, command, &work.store, moment),
        Command::ChangeStatus(command) => change_status::decide(order(command.order_id)?, command),
        Command::CancelOrder(command) => {
            cancel_order::decide(state, order(command.order_id)?, command)
        }
        Command::AttachMember(command) => attach_member::decide(order(command.order_id)?, command),
        Command::ResolveMembership(command) => {
            resolve_membership::decide(order(command.order_id)?, command)
        }
        Command::RefundOrder(command) => {
            refund_order::decide(state, order(command.order_id)?, command)
        }
        Command::RecordCashMovement(command) => record_cash_movement::decide(state, command),
        Command::CloseBusinessDay(command) => business_day::decide_close(state, command, moment),
        Command::CountDrawer(command) => count_drawer::decide(state, command),
    }
}

fn meta<'m>(
    moment: &Moment,
    index: u32,
    actor: &'m Actor,
    request_id: Option<Uuid>,
) -> EventMeta<'m> {
    EventMeta {
        revision: moment.last_revision + 1,
        index,
        recorded_at: moment.at,
        terminal_id: actor.terminal_id.as_ref().map_or("", |id| id.as_str()),
        staff_id: actor.staff_id.as_ref().map_or("", |id| id.as_str()),
        request_id,
    }
}

/// A command as it is recorded. What the system decides on its occasion (the close of an overdue day) stands before it on its own.
fn recorded_commands(
    work: &Work,
    events: Vec<Fact>,
    closes: bool,
    state: &StoreState,
    at: Timestamp,
) -> Vec<RecordedCommand> {
    let zone = state
        .day
        .as_ref()
        .map_or(&work.store.zone, |day| day.rule.zone());
    let utc_offset_seconds = zone.to_offset(at).seconds();
    let mut events = events.into_iter().map(|event| Event { event: Some(event) });
    let system = || RecordedCommand {
        actor: Some(e::Actor {
            principal: Principal::SYSTEM.to_string(),
            ..e::Actor::default()
        }),
        utc_offset_seconds,
        ..RecordedCommand::default()
    };
    let Some(id) = work.command.id() else {
        return vec![RecordedCommand {
            traceparent: work.actor.traceparent.clone(),
            events: events.collect(),
            ..system()
        }];
    };
    let by_itself = closes && !matches!(work.command, Command::CloseBusinessDay(_));
    let mut commands = Vec::with_capacity(2);
    if by_itself {
        commands.push(RecordedCommand {
            events: events.by_ref().take(1).collect(),
            ..system()
        });
    }
    commands.push(RecordedCommand {
        request_id: Bytes::copy_from_slice(id.0.as_bytes()),
        content_hash: ContentHash::of(&work.command)
            .map(|hash| Bytes::copy_from_slice(&hash.current()))
            .unwrap_or_default(),
        content_hash_version: CONTENT_HASH_VERSION,
        actor: Some(e::Actor {
            principal: work.actor.principal.to_string(),
            terminal_id: optional_text(work.actor.terminal_id.as_ref()),
            staff_id: optional_text(work.actor.staff_id.as_ref()),
        }),
        client_time: work.actor.client_time.map(timestamp_to_proto),
        utc_offset_seconds,
        traceparent: work.actor.traceparent.clone(),
        events: events.collect(),
        occurred_at: work.actor.occurred_at.map(timestamp_to_proto),
    });
    commands
}
