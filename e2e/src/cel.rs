//! The expressions in the chart's admission policies, evaluated as the API server would.

use anyhow::{Context as _, anyhow, bail};
use kube_cel::KubeCelExt as _;
use kube_cel::cel::common::ast::{EntryExpr, Expr, IdedExpr};
use kube_cel::cel::parser::Parser;
use kube_cel::cel::{Context, Program, Value as CelValue};
use serde_json::{Map, Value};

/// What an expression gives, of these variables, such as `object` and `request`.
pub fn evaluate(expression: &str, variables: &[(&str, &Value)]) -> anyhow::Result<Value> {
    let program = Program::compile(expression)
        .map_err(|error| anyhow!("{expression} does not compile: {error}"))?;
    let mut context = Context::default().with_all();
    for (name, value) in variables {
        context
            .add_variable(*name, value)
            .map_err(|error| anyhow!("{name} cannot be a variable: {error}"))?;
    }
    match program.execute(&context) {
        Ok(value) => json(&value).with_context(|| format!("of {expression}")),
        Err(error) => bail!("{expression} fails: {error}"),
    }
}

/// Whether an expression is true that has to be true or false.
pub fn holds(expression: &str, variables: &[(&str, &Value)]) -> anyhow::Result<bool> {
    let value = evaluate(expression, variables)?;
    value
        .as_bool()
        .with_context(|| format!("{expression} is {value}, neither true nor false"))
}

/// The object that an `ApplyConfiguration` writes down with `Object{...}`: nested `Object.<path>{...}`, each of the type that its
/// place demands, and constants. (No evaluator knows those types: Kubernetes makes them of its own schemas.)
pub fn apply_configuration(expression: &str) -> anyhow::Result<Value> {
    let parsed = Parser::new()
        .parse(expression)
        .map_err(|error| anyhow!("{expression} does not compile: {error}"))?;
    object(&parsed, "Object")
}

fn object(expression: &IdedExpr, type_: &str) -> anyhow::Result<Value> {
    match &expression.expr {
        Expr::Struct(literal) => {
            if literal.type_name != type_ {
                bail!("a {} stands where a {type_} has to", literal.type_name);
            }
            let mut fields = Map::new();
            for entry in &literal.entries {
                let EntryExpr::StructField(field) = &entry.expr else {
                    bail!("{type_} has something else than a field");
                };
                let value = object(&field.value, &format!("{type_}.{}", field.field))?;
                fields.insert(field.field.clone(), value);
            }
            Ok(Value::Object(fields))
        }
        Expr::Literal(_) => constant(expression),
        other => bail!("{type_} is {other:?}, neither an object nor a constant"),
    }
}

fn constant(expression: &IdedExpr) -> anyhow::Result<Value> {
    let value = CelValue::resolve(expression, &Context::default())
        .map_err(|error| anyhow!("a constant has no value: {error}"))?;
    json(&value)
}

fn json(value: &CelValue) -> anyhow::Result<Value> {
    match value {
        CelValue::String(text) => Ok(Value::String(text.to_string())),
        CelValue::Bool(value) => Ok((*value).into()),
        CelValue::Int(number) => Ok((*number).into()),
        other => bail!("{other:?} is more than a text, a number, or true or false"),
    }
}
