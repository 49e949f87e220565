//! The queries of TPC-H give the same rows in stages as on one machine.
//!
//! Scale 0.01, so that it ends in seconds; `benches/distribution/tpch.py` does scale 1.

use std::fmt::{Display, Write as _};

use tpchgen::csv::{
    CustomerCsv, LineItemCsv, NationCsv, OrderCsv, PartCsv, PartSuppCsv, RegionCsv,
    SupplierCsv,
};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator,
    PartSuppGenerator, RegionGenerator, SupplierGenerator,
};

use crate::cluster::cluster;
use crate::support::Atoll;

const SCALE: f64 = 0.01;

/// Of a query's text, what would leave no rows at a small scale.
const FRACTION: &str = "0.01";

const QUERIES: &str = include_str!("../../benches/distribution/tpch.sql");

/// The amounts of each table, which CSV does not tell from other numbers.
const AMOUNTS: [(&str, &str); 8] = [
    ("customer", "c_acctbal"),
    ("lineitem", "l_quantity l_extendedprice l_discount l_tax"),
    ("nation", ""),
    ("orders", "o_totalprice"),
    ("part", "p_retailprice"),
    ("partsupp", "ps_supplycost"),
    ("region", ""),
    ("supplier", "s_acctbal"),
];

fn write(
    atoll: &Atoll,
    table: &str,
    header: &str,
    rows: impl Iterator<Item = impl Display>,
) {
    let mut text = format!("{header}\n");
    for row in rows {
        writeln!(text, "{row}").unwrap();
    }
    atoll.file(&format!("{table}.csv"), &text);
}

fn generate(atoll: &Atoll) {
    let customers = CustomerGenerator::new(SCALE, 1, 1);
    let customers = customers.iter().map(CustomerCsv::new);
    write(atoll, "customer", CustomerCsv::header(), customers);
    let items = LineItemGenerator::new(SCALE, 1, 1);
    let items = items.iter().map(LineItemCsv::new);
    write(atoll, "lineitem", LineItemCsv::header(), items);
    let nations = NationGenerator::new(SCALE, 1, 1);
    let nations = nations.iter().map(NationCsv::new);
    write(atoll, "nation", NationCsv::header(), nations);
    let orders = OrderGenerator::new(SCALE, 1, 1);
    let orders = orders.iter().map(OrderCsv::new);
    write(atoll, "orders", OrderCsv::header(), orders);
    let parts = PartGenerator::new(SCALE, 1, 1);
    write(
        atoll,
        "part",
        PartCsv::header(),
        parts.iter().map(PartCsv::new),
    );
    let supplies = PartSuppGenerator::new(SCALE, 1, 1);
    let supplies = supplies.iter().map(PartSuppCsv::new);
    write(atoll, "partsupp", PartSuppCsv::header(), supplies);
    let regions = RegionGenerator::new(SCALE, 1, 1);
    let regions = regions.iter().map(RegionCsv::new);
    write(atoll, "region", RegionCsv::header(), regions);
    let suppliers = SupplierGenerator::new(SCALE, 1, 1);
    let suppliers = suppliers.iter().map(SupplierCsv::new);
    write(atoll, "supplier", SupplierCsv::header(), suppliers);
}

/// Makes stored tables of the CSV files.
fn store(atoll: &Atoll) {
    let mut script = String::new();
    for (table, amounts) in AMOUNTS {
        let file = atoll.path(&format!("{table}.csv")).display().to_string();
        let amounts: Vec<_> = amounts
            .split_whitespace()
            .map(|name| format!("CAST({name} AS DECIMAL(15, 2)) AS {name}"))
            .collect();
        let columns = match amounts.is_empty() {
            true => "*".to_string(),
            false => format!("* REPLACE ({})", amounts.join(", ")),
        };
        let query = format!("SELECT {columns} FROM '{file}'");
        writeln!(script, "CREATE TABLE {table} AS {query};").unwrap();
    }
    atoll.run(&["-c", &script]).ok();
}

#[test]
fn tpch_gives_the_same_rows_in_stages() {
    let atoll = Atoll::new();
    generate(&atoll);
    store(&atoll);
    // A statement that begins with a comment looks like an option.
    let queries = format!("\n{}", QUERIES.replace("${fraction}", FRACTION));
    let here = atoll.run(&["--format", "csv", "-c", &queries]).ok().stdout;
    assert!(here.lines().count() > 22 * 2, "{here}");
    let cluster = cluster(2);
    // Small files are cut too, so that there is something to deal.
    let everything = "SET atoll.distribute_bytes = 0; SET atoll.cluster_fallback = 'error'; \
        SET datafusion.optimizer.repartition_file_min_size = 0; ";
    let there = atoll.on(&cluster, &format!("{everything}{queries}"));
    assert_eq!(here, there.ok().stdout);
}
