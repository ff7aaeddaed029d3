//! How far each node's fallback spool is read.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "fallback_spools")]
pub struct Model {
    /// Name of the Asterisk node.
    #[sea_orm(primary_key, auto_increment = false)]
    pub node: String,
    /// Device of the file, its bits as a signed number.
    pub device: i64,
    /// Inode of the file, its bits as a signed number.
    pub inode: i64,
    /// Bytes of it that are read.
    pub bytes_read: i64,
    /// Lines of it that are read.
    pub lines_read: i64,
}

/// No relations: aggregates are read by explicit queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
