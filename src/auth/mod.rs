//! Who may do what: roles, sessions, API tokens, passwords.

pub mod access;
pub mod authority;
pub mod first_admin;
pub mod hasher;
pub mod password;
pub mod principal;
pub mod roles;
pub mod secrets;
pub mod sign_in;
pub mod throttle;
