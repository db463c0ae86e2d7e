//! What recorded servers sent, into our client.

use proptest::prelude::*;

use super::*;

/// Our client with a recorded server.
struct Follower {
    stream: ClientStream,
    text: String,
    logged_in: Option<(String, bool)>,
    delivered: Vec<Element>,
    end: Option<ClientEnd>,
}

impl Follower {
    fn new(recorded: &Recorded) -> Self {
        let config = ClientConfig {
            resource: recorded.resource.to_owned(),
            sasl: false,
            ..ClientConfig::new(DOMAIN, recorded.username, Secret::new(recorded.password))
        };
        Self {
            stream: ClientStream::new(config, Seed::new([5; 32]), Instant::now()),
            text: String::new(),
            logged_in: None,
            delivered: Vec::new(),
            end: None,
        }
    }

    /// What the recorded server sent, with the ids of our requests in its answers.
    fn parts(recorded: &Recorded) -> (Vec<&'static str>, Vec<String>) {
        let (clear, secure) = recorded.parts('S');
        (clear, secure.into_iter().map(with_our_id).collect())
    }

    fn feed(&mut self, cut: &Cut, lines: &[impl AsRef<str>]) {
        for piece in &cut.pieces(lines) {
            self.stream.receive(piece, Instant::now());
            while let Some(output) = self.stream.poll_output() {
                match output {
                    Output::Write(bytes) => self.text.push_str(std::str::from_utf8(&bytes).unwrap()),
                    Output::StartTls => {}
                    Output::Event(AgentEvent::LoggedIn { jid, registered }) => {
                        self.logged_in = Some((jid, registered));
                    }
                    Output::Event(AgentEvent::Deliver(stanza)) => self.delivered.push(stanza),
                    Output::Event(AgentEvent::Pong { .. } | AgentEvent::Roster(_) | AgentEvent::RosterChanged(_)) => {}
                    Output::Close(end) => self.end = Some(end),
                }
            }
        }
    }

    /// Logged in as recorded, with the recorded digest, and every message and presence delivered as it was sent.
    fn assert_followed(&self, recorded: &Recorded) {
        assert_eq!(self.end, None);
        let registered = recorded.text.contains("code='401'");
        assert_eq!(self.logged_in, Some((recorded.jid(), registered)));
        let sent = recorded.lines('C').concat();
        let digest = between(&sent, "<digest>", "</digest>");
        assert!(
            self.text.contains(&format!("<digest>{digest}</digest>")),
            "{}",
            self.text
        );
        let stanzas = |line: &&str| line.starts_with("<message") || line.starts_with("<presence");
        let recorded: Vec<Element> = recorded
            .lines('S')
            .into_iter()
            .filter(stanzas)
            .map(|line| line.parse().unwrap())
            .collect();
        assert!(!recorded.is_empty());
        assert_eq!(self.delivered, recorded);
        // Roster pushes are acknowledged, which the recorded client never does; servers must live with both.
        assert!(self.stream.is_open());
    }
}

/// An answer to one of our requests, if it is one.
fn with_our_id(line: &str) -> String {
    if !line.starts_with("<iq ") {
        return line.to_owned();
    }
    let id = between(line, " id='", "'");
    let ours = match id {
        id if id.starts_with("auth-get") => "auth-get",
        id if id.starts_with("auth-set") => "auth-set",
        "1" => "register-get",
        "2" => "register-set",
        id => id,
    };
    line.replace(&format!(" id='{id}'"), &format!(" id='{ours}'"))
}

fn our_client_follows_recorded_servers(cut: &Cut) {
    for (recorded, _) in recordings() {
        let mut follower = Follower::new(&recorded);
        let (clear, secure) = Follower::parts(&recorded);
        follower.feed(cut, &clear);
        follower.stream.tls_established(None, Instant::now());
        follower.feed(cut, &secure);

        follower.assert_followed(&recorded);
    }
}

#[test]
fn our_client_follows_recorded_servers_whole_line_by_line_and_byte_by_byte() {
    CUTS.iter().for_each(our_client_follows_recorded_servers);
}

proptest! {
    #![proptest_config(cuts::few_cases())]

    #[test]
    fn both_our_ends_follow_recordings_at_random_splits(cut in cuts::any()) {
        our_server_follows_recorded_clients(&cut);
        our_client_follows_recorded_servers(&cut);
    }
}
