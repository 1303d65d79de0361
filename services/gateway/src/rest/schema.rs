//! JSON Schemas of the contract's types, as the framework's `OpenAPI` document takes them.
//!
//! The framework knows only its own description of types. So each of ours is registered under its
//! name, with its JSON Schema and those that it refers to as the example, and [`super::document`]
//! puts them in place.

use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};

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

fn generator(side: Side) -> SchemaGenerator {
    let settings = SchemaSettings::openapi3();
    match side {
        Side::Sent => settings.for_serialize(),
        Side::Received => settings.for_deserialize(),
    }
    .into_generator()
}
