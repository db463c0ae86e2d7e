//! The tables that are used through diesel's query builder, as `migrations/sqlite` makes them.

diesel::table! {
    #[sql_name = "rhnServer"]
    rhn_server (id) {
        id -> BigInt,
        name -> Text,
        secret -> Text,
        created -> BigInt,
        modified -> BigInt,
    }
}

diesel::table! {
    #[sql_name = "rhnServerInfo"]
    rhn_server_info (server_id) {
        server_id -> BigInt,
        checkin -> BigInt,
        checkin_counter -> BigInt,
    }
}

diesel::table! {
    #[sql_name = "rhnAction"]
    rhn_action (id) {
        id -> BigInt,
        action_type -> BigInt,
        name -> Text,
        earliest_action -> BigInt,
        prerequisite -> Nullable<BigInt>,
        created -> BigInt,
        modified -> BigInt,
    }
}

diesel::table! {
    #[sql_name = "rhnPushClient"]
    rhn_push_client (id) {
        id -> BigInt,
        name -> Text,
        server_id -> BigInt,
        jabber_id -> Nullable<Text>,
        shared_key -> Text,
        state_id -> BigInt,
        next_action_time -> Nullable<BigInt>,
        last_message_time -> Nullable<BigInt>,
        last_ping_time -> Nullable<BigInt>,
        created -> BigInt,
        modified -> BigInt,
    }
}

diesel::table! {
    osa_account (username) {
        username -> Text,
        verifiers -> Text,
        created -> BigInt,
    }
}

diesel::table! {
    osa_node (incarnation) {
        incarnation -> BigInt,
        name -> Text,
        started_at -> BigInt,
    }
}

diesel::table! {
    osa_push (server_id) {
        server_id -> BigInt,
        last_number -> BigInt,
        wait_until -> Nullable<BigInt>,
        wait_reason -> Nullable<Text>,
        wait_step -> Nullable<BigInt>,
        announced_name -> Nullable<Text>,
        claimed_at -> Nullable<BigInt>,
        last_change -> Nullable<BigInt>,
    }
}

/// `rhnPushClientState.id` of online.
pub(super) const ONLINE: i64 = 1;
/// `rhnPushClientState.id` of offline.
pub(super) const OFFLINE: i64 = 2;
/// `rhnActionType.id` of `script.run`: what a standalone deployment schedules.
pub(super) const SCRIPT_RUN: i64 = 30;
