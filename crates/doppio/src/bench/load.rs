//! Callers that do a script over and over, from threads of their own.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use prost::Message;
use rand::RngExt as _;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Builder;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::book::{Book, Kind, Window, reason};
use super::calls::{Prepared, call};
use crate::exit::{ExitCode, Failure};

/// How long a connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// After a failure a caller rests, so that a service that refuses at once is not asked for nothing but refusals.
const AFTER_FAILURE: Duration = Duration::from_millis(20);
/// Longest that calls under way at the end of the window are waited for.
const LAST_CALLS: Duration = Duration::from_secs(15);
/// Longest that so many turns may take together.
const FILL_LIMIT: Duration = Duration::from_secs(3_600);
/// Customers of an open loop that are being served at once; more wait in line, and their waiting counts.
const LINE: usize = 8_192;
/// How exactly an open loop keeps its times: customers that are due within this of each other may come together.
const PACE: Duration = Duration::from_micros(200);

/// How callers come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arrival {
    /// So many callers, each of whom begins again when it is done.
    Closed { callers: usize },
    /// So many customers a second at random times, whether those before them are served or not. Their latency counts from when they
    /// came, so that a service that stands still is not asked fewer questions.
    Open { per_second: f64 },
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { callers: 1 } => f.write_str("1 caller"),
            Self::Closed { callers } => write!(f, "{callers} callers"),
            Self::Open { per_second } => write!(f, "{per_second}/s"),
        }
    }
}

/// One load: where to, and how.
#[derive(Debug, Clone)]
pub struct Load {
    pub url: String,
    pub arrival: Arrival,
    pub warm_up: Duration,
    pub measured: Duration,
    /// HTTP/2 connections over all threads.
    pub connections: usize,
    pub threads: usize,
    /// Where callers read, if they do: one connection a thread.
    pub query_url: Option<String>,
}

/// What a caller does, over and over.
pub trait Script: Send + Sync + 'static {
    /// Once. `due`: when the first call of it should go out.
    fn turn(
        &self,
        caller: &mut Caller,
        due: Instant,
    ) -> impl Future<Output = Result<(), Failed>> + Send;
}

/// A call failed, which is noted already.
#[derive(Debug, Clone, Copy)]
pub struct Failed;

/// One caller with its connection.
#[derive(Clone)]
pub struct Caller {
    channel: Channel,
    query: Option<Channel>,
    book: Arc<Mutex<Book>>,
    window: Window,
}

impl Caller {
    /// Makes a call and notes what came of it. `right` says what is wrong with an answer, if anything is.
    pub async fn call<T: Message + Default + 'static>(
        &self,
        kind: Kind,
        path: &'static str,
        prepared: Prepared,
        due: Instant,
        right: impl FnOnce(&T) -> Result<(), &'static str>,
    ) -> Result<T, Failed> {
        self.call_on(&self.channel, kind, path, prepared, due, right)
            .await
    }

    /// As [`Self::call`], on the query service.
    pub async fn read<T: Message + Default + 'static>(
        &self,
        kind: Kind,
        path: &'static str,
        prepared: Prepared,
        due: Instant,
        right: impl FnOnce(&T) -> Result<(), &'static str>,
    ) -> Result<T, Failed> {
        let Some(channel) = &self.query else {
            self.note(kind, "NO_QUERY_SERVICE", "the load knows no query service");
            return Err(Failed);
        };
        self.call_on(channel, kind, path, prepared, due, right)
            .await
    }

    /// Notes a failure that is not a call's.
    pub fn note(&self, kind: Kind, reason: &str, message: &str) {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.failure(kind, reason.to_owned(), message);
    }

    async fn call_on<T: Message + Default + 'static>(
        &self,
        channel: &Channel,
        kind: Kind,
        path: &'static str,
        prepared: Prepared,
        due: Instant,
        right: impl FnOnce(&T) -> Result<(), &'static str>,
    ) -> Result<T, Failed> {
        let answer = call::<T>(channel, path, prepared).await;
        let ended = Instant::now();
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(answer) => match right(&answer) {
                Ok(()) => {
                    book.success(kind, &self.window, due, ended);
                    Ok(answer)
                }
                Err(wrong) => {
                    book.failure(kind, WRONG_ANSWER.to_owned(), wrong);
                    Err(Failed)
                }
            },
            Err(status) => {
                book.failure(kind, reason(&status), status.message());
                Err(Failed)
            }
        }
    }
}

const DIED: &str = "a thread of the load died";

/// The reason of an answer that is not what was asked for.
pub const WRONG_ANSWER: &str = "WRONG_ANSWER";
/// The reason of a call that had not ended long after its deadline.
pub const NO_END: &str = "NO_END";

/// Turns that are left to be done.
#[derive(Debug, Clone)]
struct Turns(Arc<AtomicU64>);

impl Turns {
    fn take(&self) -> bool {
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        taken.is_ok()
    }
}

/// What so many turns came to.
#[derive(Debug, Clone)]
pub struct Filled {
    pub book: Book,
    pub took: Duration,
}

impl Load {
    /// Runs the load to its end, or until `stop`. `at_window` runs beside it with the window as soon as that is known.
    pub async fn run<S: Script, T>(
        &self,
        script: &Arc<S>,
        stop: &CancellationToken,
        at_window: impl AsyncFnOnce(Window) -> T,
    ) -> Result<(Book, T), Failure> {
        self.run_turns(script, None, stop, at_window).await
    }

    /// Runs the script so many times, as fast as the callers of a closed loop do it; warm-up and measured time have no meaning for it.
    pub async fn fill<S: Script>(
        &self,
        script: &Arc<S>,
        turns: u64,
        stop: &CancellationToken,
    ) -> Result<Filled, Failure> {
        let load = Self {
            warm_up: Duration::ZERO,
            measured: FILL_LIMIT,
            ..self.clone()
        };
        let turns = Turns(Arc::new(AtomicU64::new(turns)));
        let (book, begins) = load
            .run_turns(script, Some(turns), stop, async |window| window.begins)
            .await?;
        Ok(Filled {
            took: begins.elapsed(),
            book,
        })
    }

    async fn run_turns<S: Script, T>(
        &self,
        script: &Arc<S>,
        turns: Option<Turns>,
        stop: &CancellationToken,
        at_window: impl AsyncFnOnce(Window) -> T,
    ) -> Result<(Book, T), Failure> {
        let threads = self.threads.max(1);
        let mut ready = Vec::new();
        let mut begin = Vec::new();
        let mut ended = Vec::new();
        for index in 0..threads {
            let (told_ready, hears_ready) = oneshot::channel();
            let (tells_window, hears_window) = oneshot::channel();
            let (tells_end, hears_end) = oneshot::channel();
            let thread = Thread {
                load: self.clone(),
                arrival: self.share(index),
                connections: share(self.connections.max(threads), threads, index),
                script: script.clone(),
                turns: turns.clone(),
                stop: stop.clone(),
            };
            std::thread::Builder::new()
                .name(format!("load-{index}"))
                .spawn(move || {
                    // Whoever does not listen any more has been told why.
                    drop(tells_end.send(thread.run(told_ready, hears_window)));
                })
                .context("cannot start a thread")?;
            ready.push(hears_ready);
            begin.push(tells_window);
            ended.push(hears_end);
        }
        let mut failed = None;
        for (index, connected) in ready.into_iter().enumerate() {
            if connected.await.is_err() {
                failed = failed.or(Some(index));
            }
        }
        if let Some(index) = failed {
            // The others end when nobody tells them when to begin.
            drop(begin);
            ended.swap_remove(index).await.context(DIED)??;
            return Err(anyhow::anyhow!(DIED).into());
        }
        let window = Window::after(self.warm_up, self.measured);
        for tell in begin {
            let _ = tell.send(window);
        }
        let beside = at_window(window).await;
        let mut book = Book::default();
        for thread in ended {
            let own = thread.await.context(DIED)?;
            book.add(own?);
        }
        if stop.is_cancelled() {
            return Err(interrupted());
        }
        Ok((book, beside))
    }

    /// A thread's part of the callers.
    fn share(&self, index: usize) -> Arrival {
        let threads = self.threads.max(1);
        match self.arrival {
            Arrival::Closed { callers } => Arrival::Closed {
                callers: share(callers, threads, index),
            },
            #[expect(
                clippy::cast_precision_loss,
                reason = "there are a few threads, not 2^52"
            )]
            Arrival::Open { per_second } => Arrival::Open {
                per_second: per_second / threads as f64,
            },
        }
    }
}

/// What a bench that was told to stop ends with: half a measurement is none.
pub fn interrupted() -> Failure {
    Failure::new(
        ExitCode::Failed,
        "interrupted: nothing was measured to its end",
    )
}

fn share(of: usize, parts: usize, index: usize) -> usize {
    of / parts + usize::from(index < of % parts)
}

/// One thread of a load, with a runtime of its own.
struct Thread<S> {
    load: Load,
    arrival: Arrival,
    connections: usize,
    script: Arc<S>,
    /// How many turns all threads do together, where that is what ends the load.
    turns: Option<Turns>,
    stop: CancellationToken,
}

/// Where a thread's callers call.
struct Channels {
    ordering: Vec<Channel>,
    query: Option<Channel>,
}

impl<S: Script> Thread<S> {
    fn run(
        self,
        ready: oneshot::Sender<()>,
        window: oneshot::Receiver<Window>,
    ) -> Result<Book, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let book = runtime.block_on(async {
            let channels = self.connect().await?;
            let _ = ready.send(());
            let window = window.await.context("the load was given up")?;
            Ok::<_, Failure>(self.drive(&channels, window).await)
        });
        // Connections of calls that never ended are dropped, not waited for.
        runtime.shutdown_background();
        book
    }

    async fn connect(&self) -> Result<Channels, Failure> {
        let mut ordering = Vec::new();
        for _ in 0..self.connections {
            ordering.push(connect(&self.load.url).await?);
        }
        let query = match &self.load.query_url {
            Some(url) => Some(connect(url).await?),
            None => None,
        };
        Ok(Channels { ordering, query })
    }

    async fn drive(&self, channels: &Channels, window: Window) -> Book {
        let book = Arc::new(Mutex::new(Book::default()));
        let mut callers: JoinSet<()> = JoinSet::new();
        let caller = |number: usize| Caller {
            channel: channels.ordering[number % channels.ordering.len()].clone(),
            query: channels.query.clone(),
            book: book.clone(),
            window,
        };
        let all_ended = CancellationToken::new();
        let processor = tokio::spawn(own_processor(window, all_ended.clone()));
        match self.arrival {
            Arrival::Closed { callers: count } => {
                for number in 0..count {
                    let (script, turns) = (self.script.clone(), self.turns.clone());
                    let (caller, stop) = (caller(number), self.stop.clone());
                    callers.spawn(again_and_again(script, caller, turns, stop));
                }
            }
            Arrival::Open { per_second } => {
                self.serve_line(per_second, window, &caller, &mut callers)
                    .await;
            }
        }
        let last = window.ends + LAST_CALLS;
        let ended = async { while callers.join_next().await.is_some() {} };
        let all = tokio::select! {
            () = ended => true,
            () = sleep_until(last) => false,
        };
        callers.abort_all();
        all_ended.cancel();
        let mut sum = std::mem::take(&mut *book.lock().unwrap_or_else(PoisonError::into_inner));
        if !all {
            let message = format!("had not ended {LAST_CALLS:?} after the window");
            sum.failure(Kind::Place, NO_END.to_owned(), &message);
        }
        sum.own_processor = processor.await.unwrap_or_default();
        sum
    }

    /// Serves customers as they come. Who comes while the line is full waits, and the waiting is part of the latency.
    async fn serve_line(
        &self,
        per_second: f64,
        window: Window,
        caller: &impl Fn(usize) -> Caller,
        customers: &mut JoinSet<()>,
    ) {
        let (comes, mut line) = mpsc::channel::<Instant>(LINE);
        let stop = self.stop.clone();
        // Tokio's timer knows whole milliseconds; a thread's sleep is finer.
        let door = std::thread::Builder::new()
            .name("door".to_owned())
            .spawn(move || open_door(per_second, window, &comes, &stop));
        if door.is_err() {
            return;
        }
        let room = Arc::new(Semaphore::new(LINE));
        let mut number = 0;
        while let Some(due) = line.recv().await {
            let Ok(place) = room.clone().acquire_owned().await else {
                return;
            };
            let (script, mut caller) = (self.script.clone(), caller(number));
            number += 1;
            customers.spawn(async move {
                // What failed is noted.
                let _ = script.turn(&mut caller, due).await;
                drop(place);
            });
            while customers.try_join_next().is_some() {}
        }
    }
}

async fn connect(url: &str) -> Result<Channel, Failure> {
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|error| Failure::new(ExitCode::Usage, format!("{url:?}: {error}")))?
        .tcp_nodelay(true);
    let why = match timeout(CONNECT_LIMIT, endpoint.connect()).await {
        Ok(Ok(channel)) => return Ok(channel),
        Ok(Err(error)) => format!("{:#}", anyhow::Error::from(error)),
        Err(_) => format!("no answer within {CONNECT_LIMIT:?}"),
    };
    Err(Failure::new(
        ExitCode::Unavailable,
        format!("cannot connect to {url}: {why}"),
    ))
}

async fn again_and_again<S: Script>(
    script: Arc<S>,
    mut caller: Caller,
    turns: Option<Turns>,
    stop: CancellationToken,
) {
    let ends = caller.window.ends;
    loop {
        let now = Instant::now();
        if now >= ends || stop.is_cancelled() {
            return;
        }
        if turns.as_ref().is_some_and(|turns| !turns.take()) {
            return;
        }
        if script.turn(&mut caller, now).await.is_err() {
            sleep(AFTER_FAILURE).await;
        }
    }
}

/// Lets customers in at random times, on average so many a second: the time between two is exponentially distributed.
fn open_door(
    per_second: f64,
    window: Window,
    comes: &mpsc::Sender<Instant>,
    stop: &CancellationToken,
) {
    let mut random = rand::rng();
    let mut due = Instant::now();
    while due < window.ends && !stop.is_cancelled() {
        let now = Instant::now();
        if due > now {
            std::thread::sleep((due - now).max(PACE));
        }
        if comes.blocking_send(due).is_err() {
            return;
        }
        let share: f64 = random.random_range(f64::EPSILON..1.0);
        due += Duration::from_secs_f64(-share.ln() / per_second);
    }
}

/// The time on a processor that this thread takes within the window, or until all has ended.
async fn own_processor(window: Window, all_ended: CancellationToken) -> Duration {
    sleep_until(window.begins).await;
    let before = thread_processor();
    tokio::select! {
        () = sleep_until(window.ends) => {}
        () = all_ended.cancelled() => {}
    }
    thread_processor().saturating_sub(before)
}

fn thread_processor() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}
