//! Which columns of a table have the rows' names and what is compared.

use atoll_udf_common::OptionStruct;
use atoll_udf_common::args::literal_str;
use atoll_udf_common::structs::suggest;
use atoll_udf_common::tables::{GivenTables, state_of, table_hint};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableFunctionArgs};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::Expr;

/// What names rows, unless the options name a column.
const IDS: [&str; 4] = ["id", "filename", "path", "file"];

/// A call as it is written.
pub(crate) struct Given<'a> {
    pub(crate) table: String,
    pub(crate) schema: SchemaRef,
    pub(crate) options: Option<&'a Expr>,
}

impl<'a> Given<'a> {
    /// Reads the arguments, and finds the columns of the table.
    pub(crate) fn of(function: &str, args: &TableFunctionArgs<'a, '_>) -> Result<Self> {
        let (table, options) = match args.exprs() {
            [table] => (table, None),
            [table, options] => (table, Some(options)),
            all => {
                return plan_err!(
                    "{function} takes a table and maybe options, {function}('table', \
                     {{id: 'id'}}), got {} arguments",
                    all.len()
                );
            }
        };
        let Some(table) = literal_str(table) else {
            return plan_err!(
                "{function}: table must be the name of a table or view as text, got {table}"
            );
        };
        Ok(Self {
            table: table.to_string(),
            schema: columns_of(function, table, args.session())?,
            options,
        })
    }
}

/// The columns of a table that the session has found for the statement.
fn columns_of(function: &str, table: &str, session: &dyn Session) -> Result<SchemaRef> {
    let given = session.config().get_extension::<GivenTables>();
    if let Some(schema) = given.as_ref().and_then(|given| given.0.get(table)) {
        return Ok(SchemaRef::clone(schema));
    }
    let hint = table_hint(state_of(session, function)?, table);
    plan_err!("{function}: no table, view or file is called '{table}'; {hint}")
}

/// The type of the number that a row without a name has.
const NUMBER: DataType = DataType::Int64;

/// Finds columns in a table by options or by the names that they usually have.
pub(crate) struct Columns<'a> {
    pub(crate) function: &'a str,
    pub(crate) table: &'a str,
    pub(crate) schema: &'a Schema,
}

impl Columns<'_> {
    /// The column that names rows; `None` where they have numbers.
    pub(crate) fn id(&self, options: &OptionStruct) -> Result<Option<String>> {
        match options.text("id")? {
            Some(name) => self.named("id", name).map(Some),
            None => Ok(self.usual(&IDS)),
        }
    }

    /// The type of what names rows.
    pub(crate) fn id_type(&self, id: Option<&String>) -> DataType {
        let field = id.and_then(|id| self.schema.field_with_name(id).ok());
        field.map_or(NUMBER, |field| field.data_type().clone())
    }

    /// The first column that there is of some.
    pub(crate) fn usual(&self, names: &[&str]) -> Option<String> {
        let is_there = |name: &&&str| self.schema.index_of(name).is_ok();
        let found = names.iter().find(is_there);
        found.map(|name| (*name).to_string())
    }

    /// A column that an option names.
    pub(crate) fn named(&self, option: &str, name: String) -> Result<String> {
        if self.schema.index_of(&name).is_ok() {
            return Ok(name);
        }
        let fields = self.schema.fields().iter();
        let names: Vec<&str> = fields.map(|field| field.name().as_str()).collect();
        let hint = match suggest(&name, names.iter().copied()) {
            Some(column) => format!("did you mean {{{option}: '{column}'}}?"),
            None => format!("its columns are {}", names.join(", ")),
        };
        let (function, table) = (self.function, self.table);
        plan_err!("{function}: {table} has no column {name}; {hint}")
    }

    /// A column that must be of some kind.
    pub(crate) fn of_kind(
        &self,
        option: &str,
        name: &str,
        kind: &str,
        is_valid: fn(&DataType) -> bool,
    ) -> Result<()> {
        let data_type = self.schema.field_with_name(name)?.data_type();
        if is_valid(data_type) {
            return Ok(());
        }
        plan_err!(
            "{}: column {name} of {} must have {kind}, it has {data_type}; name another one \
             in the options: {{{option}: '...'}}",
            self.function,
            self.table
        )
    }

    /// The column of vectors.
    pub(crate) fn vector(&self, options: &OptionStruct) -> Result<String> {
        let name = match options.text("vector")? {
            Some(name) => self.named("vector", name)?,
            None => match self.usual(&["vector", "embedding"]) {
                Some(name) => name,
                None => {
                    return plan_err!(
                        "{}: {} has no column vector; name the one with lists of numbers in \
                         the options: {{vector: '...'}}",
                        self.function,
                        self.table
                    );
                }
            },
        };
        self.of_kind("vector", &name, "lists of numbers", is_vector)?;
        Ok(name)
    }
}

/// Whether a column has lists of numbers.
pub(crate) fn is_vector(data_type: &DataType) -> bool {
    let is_numeric = |field: &Field| field.data_type().is_numeric();
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => is_numeric(item),
        _ => false,
    }
}
