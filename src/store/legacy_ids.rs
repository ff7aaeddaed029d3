//! Ids that objects had on the old platform.

use std::collections::{BTreeMap, HashSet};

use entity::{campaign_client_settings, campaigns, dids, users};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use serde_json::json;

use super::audit::Object;
use super::change::{self, Editor, Keyset, Refusal};
use super::{Db, StoreError};
use crate::routing::snapshot::words;

words! {
    /// What has an id on the old platform.
    Kind {
        /// Users.
        Users = "user",
        /// DIDs.
        Dids = "did",
        /// Campaigns.
        Campaigns = "campaign",
        /// Links.
        Links = "link",
    }
}

/// Where one kind keeps it.
struct Table<E: EntityTrait> {
    id: E::Column,
    legacy_id: E::Column,
    version: E::Column,
}

macro_rules! table {
    ($entity:ident) => {
        Table::<$entity::Entity> {
            id: $entity::Column::Id,
            legacy_id: $entity::Column::LegacyId,
            version: $entity::Column::Version,
        }
    };
}

/// Runs one method of the kind's table.
macro_rules! of_kind {
    ($kind:expr, $method:ident($($argument:expr),*)) => {
        match $kind {
            Kind::Users => table!(users).$method($($argument),*).await,
            Kind::Dids => table!(dids).$method($($argument),*).await,
            Kind::Campaigns => table!(campaigns).$method($($argument),*).await,
            Kind::Links => table!(campaign_client_settings).$method($($argument),*).await,
        }
    };
}

/// The objects of a kind that have an old id: row id and old id.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(db: &Db, kind: Kind, keyset: Keyset) -> Result<Vec<(i64, String)>, StoreError> {
    Ok(of_kind!(kind, list(&db.connection, keyset))?)
}

/// Gives objects of a kind their old ids, or takes them (`None`): all or none.
///
/// # Errors
/// [`Refusal::Invalid`] names rows whose object is not there, or whose object or old id is given twice; `legacy_id_taken`.
pub async fn set(editor: &Editor<'_>, kind: Kind, wanted: &[(i64, Option<String>)]) -> Result<(), Refusal> {
    let transaction = change::begin(editor.db).await?;
    let before = of_kind!(kind, read(&transaction, wanted))?;
    refuse_bad_rows(wanted, &before)?;
    let changed: Vec<_> = wanted.iter().filter(|(id, legacy_id)| before.get(id) != Some(legacy_id)).cloned().collect();
    if changed.is_empty() {
        return Ok(());
    }
    if let Some((legacy_id, other)) = of_kind!(kind, taken(&transaction, &changed))? {
        let detail = format!("{kind} {other} has the legacy_id {legacy_id:?}");
        return Err(Refusal::conflict("legacy_id_taken", detail));
    }
    of_kind!(kind, write(&transaction, &changed))?;
    for (id, legacy_id) in changed {
        let view = |legacy_id: Option<&String>| Some(json!({ "legacy_id": legacy_id }));
        let old = view(before.get(&id).and_then(Option::as_ref));
        editor
            .note(&transaction, "legacy_id.set", Object::new(kind.as_str(), id), old, view(legacy_id.as_ref()))
            .await?;
    }
    Ok(transaction.commit().await?)
}

fn refuse_bad_rows(wanted: &[(i64, Option<String>)], before: &BTreeMap<i64, Option<String>>) -> Result<(), Refusal> {
    let (mut ids, mut legacy_ids, mut wrong) = (HashSet::new(), HashSet::new(), Vec::new());
    for (row, (id, legacy_id)) in wanted.iter().enumerate() {
        let mut refuse = |field: &str, detail: &str| wrong.push((format!("items[{row}].{field}"), detail.to_owned()));
        if !before.contains_key(id) {
            refuse("id", "there is no such object");
        }
        if !ids.insert(id) {
            refuse("id", "is there twice");
        }
        if legacy_id.as_ref().is_some_and(|legacy_id| !legacy_ids.insert(legacy_id)) {
            refuse("legacy_id", "is there twice");
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Refusal::Invalid(wrong)) }
}

impl<E: EntityTrait> Table<E> {
    async fn list(&self, connection: &impl ConnectionTrait, keyset: Keyset) -> Result<Vec<(i64, String)>, DbErr> {
        let select =
            E::find().select_only().column(self.id).column(self.legacy_id).filter(self.legacy_id.is_not_null());
        let select = match keyset.after {
            Some(after) => select.filter(self.id.gt(after)),
            None => select,
        };
        select.order_by_asc(self.id).limit(keyset.limit).into_tuple().all(connection).await
    }

    /// The objects that are named and there, with their old ids.
    async fn read(
        &self,
        transaction: &DatabaseTransaction,
        wanted: &[(i64, Option<String>)],
    ) -> Result<BTreeMap<i64, Option<String>>, DbErr> {
        let named = self.id.is_in(wanted.iter().map(|(id, _)| *id));
        let select = E::find().select_only().column(self.id).column(self.legacy_id).filter(named);
        let rows: Vec<(i64, Option<String>)> = select.into_tuple().all(transaction).await?;
        Ok(rows.into_iter().collect())
    }

    /// An old id that an object has which is not among those that change.
    async fn taken(
        &self,
        transaction: &DatabaseTransaction,
        changed: &[(i64, Option<String>)],
    ) -> Result<Option<(String, i64)>, DbErr> {
        let same = self.legacy_id.is_in(changed.iter().filter_map(|(_, legacy_id)| legacy_id.as_deref()));
        let others = self.id.is_not_in(changed.iter().map(|(id, _)| *id));
        let select = E::find().select_only().column(self.legacy_id).column(self.id).filter(same).filter(others);
        select.limit(1).into_tuple().one(transaction).await
    }

    /// All are cleared before one is set, so that two objects may change theirs.
    async fn write(&self, transaction: &DatabaseTransaction, changed: &[(i64, Option<String>)]) -> Result<(), DbErr> {
        let named = self.id.is_in(changed.iter().map(|(id, _)| *id));
        E::update_many()
            .col_expr(self.legacy_id, Expr::value(None::<String>))
            .col_expr(self.version, Expr::col(self.version).add(1))
            .filter(named)
            .exec(transaction)
            .await?;
        for (id, legacy_id) in changed.iter().filter(|(_, legacy_id)| legacy_id.is_some()) {
            let set = E::update_many().col_expr(self.legacy_id, Expr::value(legacy_id.clone()));
            set.filter(self.id.eq(*id)).exec(transaction).await?;
        }
        Ok(())
    }
}
