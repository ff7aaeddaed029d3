//! The only place that imports `sea_orm` and `entity`; one file per aggregate.
