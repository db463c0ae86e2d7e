//! What a demo comes to.

use serde::Serialize;

use crate::compose::cli::output;
use crate::compose::control::answers::{Action, ActionState, Steps};

/// Smallest, middle and largest. Units: milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// Smallest.
    pub min: u64,
    /// Middle; of an even number, the larger of the two.
    pub median: u64,
    /// Largest.
    pub max: u64,
}

impl Spread {
    fn of(mut values: Vec<u64>) -> Option<Self> {
        values.sort_unstable();
        Some(Self {
            min: *values.first()?,
            median: *values.get(values.len() / 2)?,
            max: *values.last()?,
        })
    }
}

/// How many actions were carried out, and how fast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// How many there were.
    pub actions: usize,
    /// How many of them were completed.
    pub carried_out: usize,
    /// From queued to sent.
    pub sent: Option<Spread>,
    /// From sent to answered.
    pub answered: Option<Spread>,
    /// From answered to the start of the check.
    pub started: Option<Spread>,
    /// From the start of the check to its end.
    pub finished: Option<Spread>,
    /// From queued to the start of the check.
    pub queued_to_started: Option<Spread>,
}

impl Summary {
    /// Of these actions.
    pub fn of(actions: &[Action]) -> Self {
        let spread = |step: fn(&Steps) -> Option<u64>| {
            Spread::of(actions.iter().filter_map(|action| step(&action.milliseconds)).collect())
        };
        Self {
            actions: actions.len(),
            carried_out: actions
                .iter()
                .filter(|action| action.state == ActionState::Completed)
                .count(),
            sent: spread(|steps| steps.sent),
            answered: spread(|steps| steps.answered),
            started: spread(|steps| steps.started),
            finished: spread(|steps| steps.finished),
            queued_to_started: spread(|steps| steps.queued_to_started),
        }
    }

    /// For people.
    pub fn in_words(&self) -> String {
        let row = |name: &str, spread: Option<Spread>| {
            let value = |of: fn(&Spread) -> u64| output::or_dash(spread.as_ref().map(of));
            [
                name.to_owned(),
                value(|spread| spread.min),
                value(|spread| spread.median),
                value(|spread| spread.max),
            ]
        };
        let rows = [
            row("queued -> sent", self.sent),
            row("sent -> answered", self.answered),
            row("answered -> started", self.started),
            row("started -> finished", self.finished),
            row("queued -> started", self.queued_to_started),
        ];
        let table = output::table(["MILLISECONDS", "MIN", "MEDIAN", "MAX"], rows);
        let (carried_out, actions) = (self.carried_out, self.actions);
        format!("\n{carried_out} of {actions} actions carried out\n\n{table}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_of_sorted_values_and_of_nothing_there_is_none() {
        let of = |values: &[u64]| Spread::of(values.to_vec());

        assert_eq!(of(&[]), None);
        assert_eq!(
            of(&[9, 1, 5]),
            Some(Spread {
                min: 1,
                median: 5,
                max: 9
            })
        );
    }

    #[test]
    fn nothing_carried_out_is_said_so() {
        let words = Summary::of(&[]).in_words();

        assert!(words.contains("0 of 0 actions carried out"), "{words}");
    }
}
