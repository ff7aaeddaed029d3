//! Many new rows in one statement: all of them are one JSON document, taken apart by the database, and the statement is the same for any
//! number of them. As tens of thousands of bound values the same rows cost several times as much on both sides.

use sea_orm::{
    ColumnTrait, ColumnType, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, IdenStatic, Iterable,
    QueryResult, Statement,
};

/// Inserts those rows of `document` (a JSON array of objects, their fields named like the columns) whose key is not there yet; `returning`
/// of each that was new.
///
/// # Errors
/// When the database refuses or is away.
pub(super) async fn insert<E: EntityTrait>(
    transaction: &DatabaseTransaction,
    document: &str,
    returning: &[E::Column],
) -> Result<Vec<QueryResult>, DbErr> {
    if document == "[]" {
        return Ok(Vec::new());
    }
    let backend = transaction.get_database_backend();
    let table = E::default().table_name().to_owned();
    let columns = names(&mut E::Column::iter());
    let returning = names(&mut returning.iter().copied());
    let text = if backend == DbBackend::Postgres {
        format!(
            "INSERT INTO \"{table}\" ({columns}) SELECT {columns} FROM json_populate_recordset(NULL::\"{table}\", $1::json) \
             ON CONFLICT DO NOTHING RETURNING {returning}"
        )
    } else {
        let values = E::Column::iter().map(|column| in_sqlite(&column)).collect::<Vec<_>>().join(", ");
        // As JSONB, so that no row is ever text again; materialized, so that none is taken out of the document once for each column. Without
        // WHERE, ON would be that of a join.
        format!(
            "WITH document(fields) AS MATERIALIZED (SELECT value FROM jsonb_each($1)) \
             INSERT INTO \"{table}\" ({columns}) SELECT {values} FROM document WHERE true \
             ON CONFLICT DO NOTHING RETURNING {returning}"
        )
    };
    transaction.query_all_raw(Statement::from_sql_and_values(backend, text, [document.into()])).await
}

fn names<C: IdenStatic>(columns: &mut dyn Iterator<Item = C>) -> String {
    columns.map(|column| format!("\"{}\"", column.as_str())).collect::<Vec<_>>().join(", ")
}

/// How SQLite reads a column from the row's `fields`.
fn in_sqlite<C: ColumnTrait>(column: &C) -> String {
    let name = column.as_str();
    match column.def().get_column_type() {
        ColumnType::Uuid => format!("unhex(fields->>'$.{name}')"),
        ColumnType::Json | ColumnType::JsonBinary => format!("fields->'$.{name}'"),
        _ => format!("fields->>'$.{name}'"),
    }
}
