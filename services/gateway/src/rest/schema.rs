//! JSON Schemas of the contract's types, as the framework's `OpenAPI` document takes them.
//!
//! The framework knows only its own description of types. So each of ours is registered under its
//! name, with its JSON Schema and those that it refers to as the example, and [`super::document`]
//! puts them in place.

use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator};

/// Which side of the wire a schema describes: they differ in what may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Sent,
    Received,
}

pub(super) fn reference<T: JsonSchema>() -> MetaSchemaRef {
    MetaSchemaRef::Reference(T::schema_name().into_owned())
}

pub(super) fn register<T: JsonSchema>(registry: &mut Registry, side: Side) {
    registry.create_schema::<T, _>(T::schema_name().into_owned(), |_| {
        let mut generator = generator(side);
        generator.subschema_for::<T>();
        let schemas = generator.take_definitions(true);
        MetaSchema { example: Some(schemas.into()), ..MetaSchema::ANY }
    });
}

/// What clients are sent may hold more one day; the log, which shares types with it, is stricter.
pub(super) fn open(schema: &mut Schema) {
    if schema.get("additionalProperties").is_some_and(|closed| *closed == false) {
        schema.remove("additionalProperties");
    }
}

fn generator(side: Side) -> SchemaGenerator {
    let settings = SchemaSettings::openapi3();
    match side {
        Side::Sent => settings.for_serialize().with_transform(RecursiveTransform(open)),
        Side::Received => settings.for_deserialize(),
    }
    .into_generator()
}
