//! The protocol core, seen from outside.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod agent_core;
mod client_table;
mod codec;
mod component;
mod component_contacts;
mod contacts;
mod contacts_doubted;
mod corpora;
mod dialogue;
mod dialogue_session;
mod iq_auth;
mod noise;
mod osa_agent_presence;
mod osa_agent_talk;
mod osa_dispatcher_talk;
mod osa_dispatcher_talk_new;
mod osa_parties;
mod osa_payload;
mod osa_signed;
mod pair;
mod sasl;
mod sasl_passwords;
mod scripted_client;
mod server_faults;
mod server_session;
mod server_table;
mod systemid;
mod transcripts;
mod xmlrpc;
