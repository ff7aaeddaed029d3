//! Many new rows in one statement.

use sea_orm::sea_query::{OnConflict, Query};
use sea_orm::{
    ActiveModelTrait, ActiveValue, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityName, EntityTrait,
    Iterable, QueryResult, QueryTrait, Statement, Value,
};
use serde_json::{Map, Value as Json};

use super::MAX_BINDS;

/// Inserts those of `rows` whose key is not there yet; `returning` of each that was new.
///
/// # Errors
/// When the database refuses or is away.
pub(super) async fn insert<A>(
    transaction: &DatabaseTransaction,
    rows: Vec<A>,
    returning: &[<A::Entity as EntityTrait>::Column],
) -> Result<Vec<QueryResult>, DbErr>
where
    A: ActiveModelTrait,
    <A::Entity as EntityTrait>::Column: Copy,
{
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    if transaction.get_database_backend() == DbBackend::Postgres {
        return insert_document(transaction, rows, returning).await;
    }
    let chunk = MAX_BINDS / <A::Entity as EntityTrait>::Column::iter().count();
    let (mut rows, mut new) = (rows.into_iter().peekable(), Vec::new());
    while rows.peek().is_some() {
        let mut insert = A::Entity::insert_many(rows.by_ref().take(chunk)).into_query();
        insert
            .on_conflict(OnConflict::new().do_nothing().to_owned())
            .returning(Query::returning().columns(returning.iter().copied()));
        new.extend(transaction.query_all(&insert).await?);
    }
    Ok(new)
}

/// PostgreSQL: all rows are one JSON document, taken apart by the server, and the statement is the same for any number of them. As
/// tens of thousands of bound values the same rows cost several times as much on both sides.
async fn insert_document<A: ActiveModelTrait>(
    transaction: &DatabaseTransaction,
    rows: Vec<A>,
    returning: &[<A::Entity as EntityTrait>::Column],
) -> Result<Vec<QueryResult>, DbErr> {
    use sea_orm::IdenStatic;

    let table = A::Entity::default().table_name().to_owned();
    let names = |columns: &mut dyn Iterator<Item = &'static str>| {
        columns.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
    };
    let columns = names(&mut <A::Entity as EntityTrait>::Column::iter().map(|column| column.as_str()));
    let returning = names(&mut returning.iter().map(IdenStatic::as_str));
    let text = format!(
        "INSERT INTO \"{table}\" ({columns}) SELECT {columns} FROM json_populate_recordset(NULL::\"{table}\", $1::json) \
         ON CONFLICT DO NOTHING RETURNING {returning}"
    );
    let document = serde_json::to_string(&rows.into_iter().map(object).collect::<Result<Vec<_>, _>>()?);
    let document = document.map_err(|error| DbErr::Custom(error.to_string()))?;
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, text, [document.into()]);
    transaction.query_all_raw(statement).await
}

/// A row as a JSON object; NULLs are left out.
fn object<A: ActiveModelTrait>(mut row: A) -> Result<Map<String, Json>, DbErr> {
    use sea_orm::IdenStatic;

    let mut object = Map::new();
    for column in <A::Entity as EntityTrait>::Column::iter() {
        let (ActiveValue::Set(value) | ActiveValue::Unchanged(value)) = row.take(column) else { continue };
        if let Some(value) = plain(value).map_err(|value| DbErr::Custom(format!("{}: {value:?}", column.as_str())))? {
            object.insert(column.as_str().to_owned(), value);
        }
    }
    Ok(object)
}

/// A value as JSON, in a form that PostgreSQL reads back to the same; `None` for NULL. Fails with the value where records have no such kind.
fn plain(value: Value) -> Result<Option<Json>, Value> {
    Ok(match value {
        Value::Bool(value) => value.map(Json::from),
        Value::SmallInt(value) => value.map(Json::from),
        Value::BigInt(value) => value.map(Json::from),
        Value::String(value) => value.map(Json::from),
        Value::Json(value) => value.map(|value| *value),
        Value::Uuid(value) => value.map(|value| Json::from(value.hyphenated().to_string())),
        Value::ChronoDateTimeUtc(value) => value.map(|value| Json::from(value.to_rfc3339())),
        other => return Err(other),
    })
}
