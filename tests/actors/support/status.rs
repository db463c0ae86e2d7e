//! What an agent shows of itself.

use std::sync::Mutex;

use osa::domain::check::EndedRun;
use osa::domain::ids::RequestNumber;
use osa::ports::agent_status::{LinkStatus, StatusBoard, Trouble};

/// Keeps everything that was shown.
#[derive(Default)]
pub struct ShownStatus(Mutex<Vec<String>>);

impl ShownStatus {
    fn show(&self, text: String) {
        self.0.lock().expect("not poisoned").push(text);
    }

    /// What was shown since the last time, oldest first.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("not poisoned"))
    }
}

impl StatusBoard for ShownStatus {
    fn registration(&self, trouble: Option<Trouble>) {
        self.show(trouble.map_or("registered".to_owned(), |trouble| {
            format!("not registered: {}", trouble.reason)
        }));
    }

    fn link(&self, status: LinkStatus) {
        self.show(match status {
            LinkStatus::Connecting { server } => format!("connecting to {server}"),
            LinkStatus::LoggedIn { .. } => "logged in".to_owned(),
            LinkStatus::Linked => "linked".to_owned(),
            LinkStatus::Down(trouble) => format!("down: {}", trouble.reason),
        });
    }

    fn request(&self, number: Option<RequestNumber>) {
        self.show(format!("request {}", number.unwrap_or_default()));
    }

    fn run_ended(&self, ended: EndedRun) {
        self.show(format!("{:?}", ended.end));
    }
}
