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
    fn parts(&self, recorded: &Recorded) -> (String, String) {
        let (clear, secure) = recorded.parts('S');
        let mut secure = secure;
        for line in recorded.lines('S').into_iter().filter(|line| line.starts_with("<iq ")) {
            let id = between(line, " id='", "'");
            let ours = match id {
                id if id.starts_with("auth-get") => "auth-get",
                id if id.starts_with("auth-set") => "auth-set",
                "1" => "register-get",
                "2" => "register-set",
                id => id,
            };
            secure = secure.replace(&format!(" id='{id}'"), &format!(" id='{ours}'"));
        }
        (clear, secure)
    }

    fn feed(&mut self, pieces: &[&[u8]]) {
        for piece in pieces {
            self.stream.receive(piece, Instant::now());
            while let Some(output) = self.stream.poll_output() {
                match output {
                    Output::Write(bytes) => self.text.push_str(std::str::from_utf8(&bytes).unwrap()),
                    Output::StartTls => {}
                    Output::Event(AgentEvent::LoggedIn { jid, registered }) => {
                        self.logged_in = Some((jid, registered));
                    }
                    Output::Event(AgentEvent::Deliver(stanza)) => self.delivered.push(stanza),
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

#[test]
fn our_client_follows_recorded_servers_whole_and_byte_by_byte() {
    for (recorded, _) in recordings() {
        for cut in [whole as Cut, byte_by_byte] {
            let mut follower = Follower::new(&recorded);
            let (clear, secure) = follower.parts(&recorded);
            follower.feed(&cut(clear.as_bytes()));
            follower.stream.tls_established(None, Instant::now());
            follower.feed(&cut(secure.as_bytes()));

            follower.assert_followed(&recorded);
        }
    }
}

fn split_at_random(bytes: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at((*size).min(rest.len()));
        pieces.push(piece.to_vec());
        rest = behind;
    }
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn both_our_ends_follow_recordings_at_random_splits(sizes in prop::collection::vec(1usize..400, 1..40)) {
        for (recorded, trace) in recordings() {
            let mut replay = Replay::new(&recorded);
            let (clear, secure) = recorded.parts('C');
            for piece in split_at_random(clear.as_bytes(), &sizes) {
                replay.feed(&[&piece]);
            }
            replay.server.tls_established(None, Instant::now());
            for piece in split_at_random(secure.as_bytes(), &sizes) {
                replay.feed(&[&piece]);
            }
            assert_followed(&replay, trace);

            let mut agent = Follower::new(&recorded);
            let (clear, secure) = agent.parts(&recorded);
            for piece in split_at_random(clear.as_bytes(), &sizes) {
                agent.feed(&[&piece]);
            }
            agent.stream.tls_established(None, Instant::now());
            for piece in split_at_random(secure.as_bytes(), &sizes) {
                agent.feed(&[&piece]);
            }
            agent.assert_followed(&recorded);
        }
    }
}
