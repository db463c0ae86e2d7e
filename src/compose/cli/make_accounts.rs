//! `accounts make`: accounts for a site's own XMPP server, where agents cannot register theirs.

use std::collections::BTreeSet;

use clap::Args;

use super::arguments::PlainArgs;
use super::ask::settings;
use super::{Done, output};
use crate::domain::secret::Secret;
use crate::host::clock::OsEntropy;
use crate::ports::clock::Entropy;
use crate::settings::names::DomainName;

/// More accounts than any server has agents.
const ACCOUNTS_MAX: i64 = 100_000;
/// Random bytes of a name: 10 characters (compatibility contract, section 1.7).
const NAME_ENTROPY: usize = 5;
/// Random bytes of a password: 20 characters (compatibility contract, section 1.7).
const PASSWORD_ENTROPY: usize = 10;

/// How many accounts, and where.
#[derive(Clone, Debug, Args)]
pub struct MakeArgs {
    /// How many
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..=ACCOUNTS_MAX))]
    pub count: u32,
    /// Name that the server has for the agents: the domain of the accounts [default: the configuration's `hostname`]
    #[arg(long, value_name = "NAME", value_parser = domain)]
    pub domain: Option<String>,
    #[command(flatten)]
    pub plain: PlainArgs,
}

fn domain(text: &str) -> Result<String, String> {
    let name = DomainName::parse(text).map_err(|error| error.to_string())?;
    Ok(name.to_string())
}

/// An account as it is shown: this once, and to nobody else.
#[derive(serde::Serialize)]
struct Made<'a> {
    username: &'a str,
    domain: &'a str,
    password: &'a str,
}

/// Makes the accounts up. Nothing is stored, and no server is asked.
pub fn make(args: &MakeArgs) -> Done {
    let domain = match &args.domain {
        Some(domain) => domain.clone(),
        None => settings(&args.plain.config)?.hostname.to_string(),
    };
    let accounts = accounts(args.count as usize, &OsEntropy);
    let mut made = accounts.iter().map(|(username, password)| Made {
        username,
        domain: &domain,
        password: password.expose(),
    });
    match args.plain.json {
        true => output::json(&made.collect::<Vec<_>>())?,
        false => made.try_for_each(|account| {
            let Made {
                username,
                domain,
                password,
            } = account;
            output::line(format!("{username} {domain} {password}"))
        })?,
    }
    Ok(0)
}

/// So many accounts, of which no two have the same name.
fn accounts(count: usize, entropy: &dyn Entropy) -> Vec<(String, Secret)> {
    let mut names = BTreeSet::new();
    while names.len() < count {
        names.insert(format!("osad-{}", random_hex::<NAME_ENTROPY>(entropy).expose()));
    }
    let with_password = |name| (name, random_hex::<PASSWORD_ENTROPY>(entropy));
    names.into_iter().map(with_password).collect()
}

fn random_hex<const N: usize>(entropy: &dyn Entropy) -> Secret {
    let mut bytes = zeroize::Zeroizing::new([0; N]);
    entropy.fill(&mut *bytes);
    Secret::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    /// Draws the same bytes twice in a row.
    struct Repeating(AtomicU8);

    impl Entropy for Repeating {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0.fetch_add(1, Ordering::Relaxed) / 2);
        }
    }

    #[test]
    fn name_that_is_drawn_twice_is_given_once() {
        let made = accounts(3, &Repeating(AtomicU8::new(0)));

        let names: Vec<&str> = made.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["osad-0000000000", "osad-0101010101", "osad-0202020202"]);
        assert!(made.iter().all(|(_, password)| password.expose().len() == 20));
    }
}
