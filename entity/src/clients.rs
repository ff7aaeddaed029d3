//! Call centres.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "clients")]
pub struct Model {
    /// Row id.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// PJSIP endpoint id; unique ignoring case.
    pub client_identifier: String,
    /// For people.
    pub name: String,
    /// `active`, `paused` or `archived`.
    pub status: String,
    /// Calls at once; `None` = no limit.
    pub max_concurrency: Option<i64>,
    /// Whether the INVITE carries our headers.
    pub send_headers: bool,
    /// SIP settings as JSON, without secrets.
    pub sip: String,
    /// MD5 of `username:realm:password` of a registering client: as good as its password.
    pub md5_cred: Option<String>,
    /// The realm of `md5_cred`, by which contacts of earlier passwords are told apart; `None` = `asterisk`.
    pub registration_realm: Option<String>,
    /// MD5 of `username:realm:password` for a client that challenges us.
    pub outbound_md5_cred: Option<String>,
    /// The password itself, where the client's realm is not known and the configuration allows it.
    pub outbound_password: Option<String>,
    /// Why its host may not be called (any more); such a client is offered no calls.
    pub suspended_reason: Option<String>,
    /// Grows with every change.
    pub version: i64,
    /// `all`, or `selected`: only the sellers of `client_sellers`.
    pub access: String,
    /// What sellers see instead of the name.
    pub mask_name: Option<String>,
    /// Whom to call, for people.
    pub contact: Option<String>,
    /// IANA name.
    pub time_zone: Option<String>,
}

/// No relations: aggregates are read by explicit queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
