//! What happens, as it happens: a table that is drawn anew on a terminal, a line per change elsewhere.

use std::collections::HashMap;
use std::io::{self, IsTerminal};

use crate::compose::cli::output::{self, OutputError};
use crate::compose::control::answers::{Action, ActionState};

/// Most rows drawn anew; more would scroll out of most terminals, which cannot be drawn over.
const ROWS_MAX: usize = 20;

enum Mode {
    Silent,
    Lines,
    Redrawn,
}

/// Shows actions.
pub struct Board {
    mode: Mode,
    /// Lines on the terminal that belong to the table.
    drawn: usize,
    /// How far each action had come when it was shown last.
    shown: HashMap<(i64, i64), usize>,
}

impl Board {
    /// A board that suits standard output.
    pub fn new(is_silent: bool) -> Self {
        let mode = match is_silent {
            true => Mode::Silent,
            false if io::stdout().is_terminal() => Mode::Redrawn,
            false => Mode::Lines,
        };
        Self { mode, ..Self::lines() }
    }

    /// A board with a line per change.
    pub fn lines() -> Self {
        Self {
            mode: Mode::Lines,
            drawn: 0,
            shown: HashMap::new(),
        }
    }

    /// Takes these as shown.
    pub fn pass_over(&mut self, actions: &[Action]) {
        for action in actions {
            self.shown.insert((action.id, action.system.id), steps(action).len());
        }
    }

    /// Shows what changed.
    ///
    /// # Errors
    /// [`OutputError`].
    pub fn show(&mut self, actions: &[Action]) -> Result<(), OutputError> {
        match self.mode {
            Mode::Silent => Ok(()),
            Mode::Lines => output::print(&self.changes(actions)),
            Mode::Redrawn => self.redraw(actions),
        }
    }

    fn redraw(&mut self, actions: &[Action]) -> Result<(), OutputError> {
        if self.changes(actions).is_empty() {
            return Ok(());
        }
        let newest = actions.len().saturating_sub(ROWS_MAX);
        let text = table(actions.get(newest..).unwrap_or(actions));
        // Up to the table's first line, and clear from there.
        let up = match self.drawn {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        };
        self.drawn = text.lines().count();
        // Lines that are too long for the terminal are cut: wrapped ones would not be counted.
        output::print(&format!("{up}\x1b[?7l{text}\x1b[?7h"))
    }

    /// A line for each step that was not shown yet.
    fn changes(&mut self, actions: &[Action]) -> String {
        let mut lines = String::new();
        for action in actions {
            let steps = steps(action);
            let shown = self.shown.entry((action.id, action.system.id)).or_default();
            for step in steps.iter().skip(*shown) {
                let (id, name) = (action.id, output::plain(&action.name));
                lines += &format!(
                    "{:<12} action {id} ({name}): {step}\n",
                    output::plain(&action.system.name)
                );
            }
            *shown = steps.len();
        }
        lines
    }
}

/// Whether nothing more will happen to it.
pub fn is_over(action: &Action) -> bool {
    match action.state {
        ActionState::Completed | ActionState::Failed => true,
        ActionState::Queued | ActionState::PickedUp => false,
    }
}

/// The steps taken so far, in order.
fn steps(action: &Action) -> Vec<String> {
    let taken = action.milliseconds;
    let steps = [
        Some("queued".to_owned()),
        taken.sent.map(|ms| format!("sent after {ms} ms")),
        taken.answered.map(|ms| format!("answered after {ms} ms")),
        taken.started.map(|ms| format!("started after {ms} ms")),
        taken.finished.map(|ms| format!("finished after {ms} ms")),
        is_over(action).then(|| match &action.result {
            Some(result) => format!("{}: {}", action.state.as_str(), output::plain(result)),
            None => action.state.as_str().to_owned(),
        }),
    ];
    steps.into_iter().flatten().collect()
}

fn table(actions: &[Action]) -> String {
    let header = [
        "SYSTEM",
        "ACTION",
        "STATE",
        "QUEUED AT",
        "-> SENT",
        "-> ANSWERED",
        "-> STARTED",
        "-> FINISHED",
    ];
    let milliseconds = |value: Option<u64>| output::or_dash(value.map(|ms| format!("{ms} ms")));
    let rows = actions.iter().map(|action| {
        let taken = action.milliseconds;
        [
            action.system.name.clone(),
            format!("{} {}", action.id, action.name),
            action.state.as_str().to_owned(),
            action.created.local_clock(),
            milliseconds(taken.sent),
            milliseconds(taken.answered),
            milliseconds(taken.started),
            milliseconds(taken.finished),
        ]
    });
    output::table(header, rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::control::answers::{Steps, SystemName, Trace};
    use crate::compose::time::Time;
    use crate::domain::time::Timestamp;

    fn action(state: ActionState, milliseconds: Steps) -> Action {
        let time = Time(Timestamp::from_secs(1));
        Action {
            id: 7,
            name: "update".to_owned(),
            system: SystemName {
                id: 1,
                name: "client-1".to_owned(),
            },
            state,
            created: time,
            at: time,
            picked_up: None,
            completed: None,
            remaining_tries: 5,
            result: None,
            request: Trace::default(),
            milliseconds,
        }
    }

    #[test]
    fn each_step_is_shown_once() {
        let mut board = Board::lines();
        let sent = Steps {
            sent: Some(2),
            ..Steps::default()
        };

        let first = board.changes(&[action(ActionState::Queued, sent)]);
        let again = board.changes(&[action(ActionState::Queued, sent)]);
        let last = board.changes(&[action(ActionState::Completed, sent)]);

        assert_eq!(first.lines().count(), 2, "{first}");
        assert!(first.contains("queued") && first.contains("sent after 2 ms"), "{first}");
        assert_eq!(again, "");
        assert_eq!(last, "client-1     action 7 (update): completed\n");
    }

    #[test]
    fn table_has_a_row_per_action() {
        let text = table(&[
            action(ActionState::Queued, Steps::default()),
            action(ActionState::Failed, Steps::default()),
        ]);

        assert_eq!(text.lines().count(), 3, "{text}");
    }
}
