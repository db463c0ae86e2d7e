//! What a client may send to the server, with answers of the store, time and TLS at any moment.
//!
//! The input is what the client sends, with two-byte commands in it: NUL, which no XML holds, and a letter.
//!
//! | Letter | What happens |
//! |---|---|
//! | `T` | TLS is established |
//! | `A` `N` `U` | the open question is answered: the account, none, nobody can tell |
//! | `C` `K` `R` | the open question is answered: account made, taken, refused |
//! | `D` | time passes until the next deadline |
//! | `S` | the dispatcher sends a stanza |
//! | `X` | the session ends the stream |
//! | other | nothing: the bytes before and after come in two pieces |

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use minidom::Element;
use osa::domain::secret::Secret;
use osa::protocol::codec::Limits;
use osa::protocol::sasl::{ITERATIONS_DEFAULT, Salts, Verifiers};
use osa::protocol::stream::server::{Answer, QuestionToken, ServerConfig, ServerEvent, ServerOutput, ServerStream};
use osa::protocol::stream::{Output, Seed, StreamFault};

/// The domain of the server in the corpus.
pub const DOMAIN: &str = "sat.test";
/// The password of every account.
pub const PASSWORD: &str = "0123456789abcdef0123";
/// What one piece of input may cause: room for the features and an error, and for echoes.
const OUTPUT_BYTES_MAX: usize = 4_096;
/// By how much an answer may be longer than what it answers: `<iq/>` causes an error of some 300 bytes.
const OUTPUT_FACTOR_MAX: usize = 64;

/// Plays the script; tells whether the client was logged in in the end.
pub fn run(data: &[u8]) -> bool {
    let mut play = Play::new();
    let mut pieces = data.split(|byte| *byte == 0);
    play.receive(pieces.next().unwrap_or_default());
    for piece in pieces {
        let Some((command, bytes)) = piece.split_first() else {
            continue;
        };
        play.act(*command);
        play.receive(bytes);
    }
    play.logged_in
}

/// The server's settings in the corpus.
pub fn config() -> Arc<ServerConfig> {
    Arc::new(ServerConfig::new(DOMAIN, [9; 32]))
}

/// What the server's stream draws its nonces from, in the corpus.
pub fn seed() -> Seed {
    Seed::new([4; 32])
}

fn verifiers() -> Box<Verifiers> {
    static VERIFIERS: OnceLock<Verifiers> = OnceLock::new();
    let derive = || {
        let salts = Salts {
            sha256: [1; 16],
            sha1: [2; 16],
            fast: Some([3; 16]),
        };
        let derived = Verifiers::derive(&Secret::new(PASSWORD), &salts, ITERATIONS_DEFAULT);
        derived.unwrap_or_else(|_| Verifiers::decoy("", &[], ITERATIONS_DEFAULT))
    };
    Box::new(VERIFIERS.get_or_init(derive).clone())
}

/// A stream with what was seen of it.
struct Play {
    stream: ServerStream,
    now: Instant,
    question: Option<QuestionToken>,
    handshake_wanted: bool,
    is_inside_tls: bool,
    accepted: bool,
    logged_in: bool,
    closed: bool,
}

impl Play {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            stream: ServerStream::new(config(), seed(), now),
            now,
            question: None,
            handshake_wanted: false,
            is_inside_tls: false,
            accepted: false,
            logged_in: false,
            closed: false,
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.stream.receive(bytes, self.now);
        self.perform(bytes.len());
    }

    fn act(&mut self, command: u8) {
        match command {
            b'T' => {
                self.is_inside_tls |= std::mem::take(&mut self.handshake_wanted);
                self.stream.tls_established(Some([6; 32]), self.now);
            }
            b'A' => self.answer(Answer::Verifiers(Some(verifiers()))),
            b'N' => self.answer(Answer::Verifiers(None)),
            b'U' => self.answer(Answer::Unavailable),
            b'C' => self.answer(Answer::Created),
            b'K' => self.answer(Answer::Taken),
            b'R' => self.answer(Answer::Refused),
            b'D' => {
                self.now = self.stream.next_deadline().map_or(self.now, |at| at.max(self.now));
                self.stream.handle_deadline(self.now);
                assert!(
                    self.stream.next_deadline().is_none_or(|at| at > self.now),
                    "a deadline that is met goes"
                );
            }
            b'S' => self.stream.send(&Element::bare("message", "jabber:client"), self.now),
            b'X' => self.stream.close(StreamFault::Conflict),
            _ => {}
        }
        // Held input, at most the limit, may be read now.
        self.perform(Limits::BEFORE_LOGIN.stanza_bytes);
    }

    fn answer(&mut self, answer: Answer) {
        if let Some(token) = self.question.take() {
            self.accepted |= matches!(answer, Answer::Verifiers(Some(_)));
            self.stream.answer(token, answer, self.now);
        }
    }

    fn perform(&mut self, input_bytes: usize) {
        let mut written = 0;
        while let Some(output) = self.stream.poll_output() {
            assert!(!self.closed, "nothing comes behind the end: {output:?}");
            if let Output::Write(bytes) = &output {
                written += bytes.len();
            }
            self.see(output);
        }
        let most = OUTPUT_BYTES_MAX + OUTPUT_FACTOR_MAX * input_bytes;
        assert!(written <= most, "{written} bytes written for {input_bytes}");
        assert_eq!(
            self.stream.next_deadline().is_none(),
            self.closed,
            "an open stream has a deadline"
        );
        assert_eq!(self.stream.is_open(), self.logged_in && !self.closed);
    }

    fn see(&mut self, output: ServerOutput) {
        match output {
            Output::Write(bytes) => assert!(std::str::from_utf8(&bytes).is_ok()),
            Output::StartTls => {
                assert!(!self.is_inside_tls && !self.handshake_wanted, "TLS is started once");
                self.handshake_wanted = true;
            }
            Output::Event(ServerEvent::Ask(token, _)) => {
                assert!(self.is_inside_tls, "nothing is looked up for who is outside TLS");
                assert_eq!(self.question.replace(token), None, "one question at a time");
            }
            Output::Event(ServerEvent::LoggedIn(jid)) => {
                assert!(self.is_inside_tls && self.accepted && !self.logged_in);
                assert!(jid.contains(&format!("@{DOMAIN}/")), "a full JID of the domain: {jid}");
                self.logged_in = true;
            }
            Output::Event(ServerEvent::Client(_)) => assert!(self.logged_in),
            Output::Close(_) => self.closed = true,
        }
    }
}
