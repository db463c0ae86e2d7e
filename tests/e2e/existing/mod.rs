//! An existing agent, as its recorded sessions and the compatibility contract (sections 1, 2 and 4) describe it, with
//! everything about it that a dispatcher has to live with.
//!
//! * It logs in without SASL, takes the form's `<digest/>` if there is one, registers on the number 401, and ends with
//!   status 0 on 409.
//! * It reads one TLS record, handles what is in it, and pauses for 6 to 10 s; behind a check that runs or failed it
//!   waits for 5 s at most, otherwise for 180 s.
//! * It answers a request at once; if its check runs already, nothing else comes of the request.
//! * It answers no iq and acknowledges no roster push.
//! * A check that fails is started again at the next turn, without end.
//! * On `conflict`, and when its systemid changed, it makes up another account at once. After anything else it waits for
//!   60 to 120 s and registers anew, with another key.
//! * It dies without a word.
#![expect(clippy::disallowed_methods, reason = "an agent pauses, and has a clock of its own")]

mod calls;
mod dispatcher;
mod link;
mod session;
mod statements;
mod tls;

pub use self::calls::Registration;
pub use self::dispatcher::ExistingDispatcher;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use minidom::Element;

use self::link::{End, Link};
use crate::site::PATIENCE;

/// Name and password of an XMPP account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

impl Credentials {
    /// As an agent makes them up.
    pub fn random() -> Self {
        Self {
            username: format!("osad-{}", hex(5)),
            password: hex(10),
        }
    }
}

fn hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).unwrap();
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn random_between(least: u64, most: u64) -> u64 {
    let mut random = [0; 8];
    getrandom::fill(&mut random).unwrap();
    least + u64::from_ne_bytes(random) % (most - least + 1)
}

/// What an agent is given.
#[derive(Clone)]
pub struct Identity {
    /// The host it is configured for: where it connects, its JID's domain, the name it wants in certificates.
    pub host: String,
    pub xmpp: SocketAddr,
    pub https: SocketAddr,
    pub ca: PathBuf,
    pub systemid: Arc<Mutex<String>>,
    /// `osad-auth.conf`; clones have the same.
    pub credentials: Arc<Mutex<Credentials>>,
    /// Whether it subscribes to the dispatcher though its roster says that it need not, as it does where a roster is lost.
    pub subscribes: bool,
    /// How far its clock is ahead. Units: seconds.
    pub clock_ahead: i64,
    /// What its pauses are divided by.
    pub hurry: u32,
    /// The check command: its exit status.
    pub check: Arc<dyn Fn() -> i32 + Send + Sync>,
}

/// What an agent did or met with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It made its account.
    Registered(String),
    /// It logged in; whether by digest.
    LoggedIn {
        jid: String,
        digest: bool,
    },
    /// It has a new name and key.
    Enrolled(String),
    /// It subscribed to a dispatcher.
    Subscribed(String),
    /// It sent its presence.
    Available,
    /// A record was read in the main loop, with so many stanzas.
    Record(usize),
    /// A validly signed request came, and was answered: `checkin` or `ping`.
    Answered(&'static str),
    /// What was answered had no effect: the check runs already.
    Forgotten,
    /// A request or ping came that is not signed with its key.
    Distrusted,
    /// A signed message came that does not say that it is a normal one, and is not read.
    Ignored,
    CheckStarted,
    CheckEnded(i32),
    /// A dispatcher heard that a client, by its full or bare JID, is there or gone.
    Heard {
        jid: String,
        available: bool,
    },
    /// A dispatcher sent a request or ping to a full JID.
    Asked(String),
    /// A dispatcher heard a validly signed answer from a full JID.
    Verified(String),
    /// A dispatcher removed so many contacts, with one request.
    Removed(usize),
    /// The session ended; it will be back.
    Lost(String),
    /// It ended for good.
    Exited(i32),
}

/// What its threads share.
struct Shared {
    identity: Identity,
    events: Mutex<Vec<(Instant, Event)>>,
    changed: Condvar,
    /// It dies as by SIGKILL.
    killed: AtomicBool,
    /// It ends as by Ctrl-C.
    interrupted: AtomicBool,
    /// It hears nothing, but its connection lives: a process that is stopped.
    stopped: AtomicBool,
    /// It has noticed: what comes from now on is not heard.
    stands: AtomicBool,
    /// After so many more answers it hears nothing; zero: it never stops by itself.
    answers_left: AtomicU32,
    checks: AtomicU32,
    /// A name and key that it got while its session went on.
    re_enrolled: Mutex<Option<Registration>>,
}

impl Shared {
    fn new(identity: Identity) -> Self {
        Self {
            identity,
            events: Mutex::new(Vec::new()),
            changed: Condvar::new(),
            killed: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            stands: AtomicBool::new(false),
            answers_left: AtomicU32::new(0),
            checks: AtomicU32::new(0),
            re_enrolled: Mutex::new(None),
        }
    }

    fn note(&self, event: Event) {
        self.events.lock().unwrap().push((Instant::now(), event));
        self.changed.notify_all();
    }

    /// An answer is out.
    fn answered(&self, kind: &'static str) {
        let (set, fetch) = (Ordering::SeqCst, Ordering::SeqCst);
        let left = self.answers_left.fetch_update(set, fetch, |left| left.checked_sub(1));
        if left == Ok(1) {
            self.stopped.store(true, Ordering::SeqCst);
        }
        self.note(Event::Answered(kind));
    }

    fn ends(&self) -> bool {
        self.killed.load(Ordering::SeqCst) || self.interrupted.load(Ordering::SeqCst)
    }

    fn stay_stopped(&self) {
        while self.stopped.load(Ordering::SeqCst) && !self.ends() {
            self.stands.store(true, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(20));
        }
        self.stands.store(false, Ordering::SeqCst);
    }

    /// A pause of the original, as this agent keeps it.
    fn pause(&self, least: u64, most: u64) -> Duration {
        Duration::from_millis(random_between(least * 1_000, most * 1_000)) / self.identity.hurry
    }

    /// Pauses, unless the agent ends before.
    fn sleep(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while Instant::now() < until && !self.ends() {
            std::thread::sleep((until - Instant::now()).min(Duration::from_millis(50)));
        }
    }
}

/// What a server says to an agent that logs in by password, known or not: the answers to its question for the `form`, to its
/// `proof`, and to a `last` question behind that. An answer that is not there by then will never come, except from
/// jabberd2, which asks another process before it agrees.
pub fn answers_to_login(identity: &Identity) -> Result<Vec<Element>, String> {
    let shared = Arc::new(Shared::new(identity.clone()));
    let tried = Link::open(&shared).and_then(|mut link| link.answers_to_login());
    tried.map_err(|end| format!("{end:?}"))
}

/// Another program logs in with this account, and removes it (XEP-0077).
pub fn remove_account(identity: &Identity) -> Result<(), String> {
    let shared = Arc::new(Shared::new(identity.clone()));
    let removed = Link::open(&shared).and_then(|mut link| {
        link.log_in("elsewhere")?;
        link.remove_account()
    });
    removed.map_err(|end| format!("{end:?}"))
}

/// Until its session ends.
fn idle(shared: &Arc<Shared>, resource: &str) -> End {
    let idled = Link::open(shared).and_then(|mut link| {
        link.log_in(resource)?;
        loop {
            link.read(Instant::now() + PATIENCE)?;
        }
    });
    match idled {
        Ok(never) => never,
        Err(end) => end,
    }
}

/// Another process registers as this system: its name and key are void from now on.
pub fn rotate(identity: &Identity) -> Registration {
    calls::register_osad(identity).unwrap()
}

/// A running agent, killed when it is dropped.
pub struct ExistingAgent {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Events before this one were waited for already.
    seen: usize,
}

impl ExistingAgent {
    pub fn start(identity: Identity) -> Self {
        Self::spawn(identity, session::live)
    }

    /// Logs in to this resource of its account, and does nothing.
    pub fn idle(identity: Identity, resource: &'static str) -> Self {
        Self::spawn(identity, move |shared| {
            let end = idle(shared, resource);
            shared.note(Event::Lost(format!("{end:?}")));
        })
    }

    fn spawn(identity: Identity, live: impl FnOnce(&Arc<Shared>) + Send + 'static) -> Self {
        let shared = Arc::new(Shared::new(identity));
        let its = Arc::clone(&shared);
        let thread = std::thread::spawn(move || live(&its));
        Self {
            shared,
            thread: Some(thread),
            seen: 0,
        }
    }

    /// Returns at the next event that is wanted; the ones before it are passed over.
    pub fn wait_for(&mut self, wanted: impl Fn(&Event) -> bool) -> (Instant, Event) {
        let end = Instant::now() + PATIENCE;
        let mut events = self.shared.events.lock().unwrap();
        loop {
            let found = events.iter().skip(self.seen).position(|(_, event)| wanted(event));
            if let Some(offset) = found {
                self.seen += offset + 1;
                return events[self.seen - 1].clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "it did not happen: {:#?}", *events);
            events = self.shared.changed.wait_timeout(events, left).unwrap().0;
        }
    }

    /// Everything that happened so far.
    pub fn events(&self) -> Vec<Event> {
        let events = self.shared.events.lock().unwrap();
        events.iter().map(|(_, event)| event.clone()).collect()
    }

    pub fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events().iter().filter(|event| wanted(event)).count()
    }

    /// Dies without a word.
    pub fn kill(mut self) {
        self.shared.killed.store(true, Ordering::SeqCst);
        self.join();
    }

    /// All of them die without a word, and at once.
    pub fn kill_all(agents: Vec<Self>) {
        for agent in &agents {
            agent.shared.killed.store(true, Ordering::SeqCst);
        }
        agents.into_iter().for_each(Self::kill);
    }

    /// Whether it ended by itself.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Says goodbye, as at Ctrl-C.
    pub fn interrupt(mut self) {
        self.shared.interrupted.store(true, Ordering::SeqCst);
        self.join();
    }

    /// Gets another name and key, and uses them from the next stanza on; its connection goes on.
    pub fn re_enrol(&self) {
        let registration = rotate(&self.shared.identity);
        *self.shared.re_enrolled.lock().unwrap() = Some(registration);
    }

    /// SIGSTOP and SIGCONT. Returns when it has taken effect.
    pub fn stop(&self, stopped: bool) {
        self.shared.stopped.store(stopped, Ordering::SeqCst);
        let end = Instant::now() + PATIENCE;
        while self.shared.stands.load(Ordering::SeqCst) != stopped {
            assert!(Instant::now() < end, "the agent does not look at its switch");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Goes on after [`ExistingAgent::stop`] until it has given one more answer. Returns when it has stopped again.
    pub fn answer_one(&self) {
        let is_answer = |event: &Event| matches!(event, Event::Answered(_));
        let before = self.count(is_answer);
        self.shared.answers_left.store(1, Ordering::SeqCst);
        self.shared.stopped.store(false, Ordering::SeqCst);
        let end = Instant::now() + PATIENCE;
        while self.count(is_answer) == before || !self.shared.stands.load(Ordering::SeqCst) {
            assert!(Instant::now() < end, "it was not asked: {:?}", self.events());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for ExistingAgent {
    fn drop(&mut self) {
        self.shared.killed.store(true, Ordering::SeqCst);
        if !std::thread::panicking() {
            self.join();
        }
    }
}
