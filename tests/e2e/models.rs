//! Models whose weights are in another file.

use std::path::Path;

use crate::bucket::S3;
use crate::server::Server;
use crate::support::{Atoll, Output, Running};

/// The weights are the numbers from 0 to 11.
const PREDICT: &str = "SELECT predict('s3://bucket/models/external.onnx', \
    [1.0, 1.0, 1.0, n])['y'] AS y FROM (VALUES (1.0)) AS t(n)";

fn run(s3: &S3, arguments: &[&str]) -> Output {
    let atoll = Atoll::new();
    let mut command = atoll.command_in("s3://bucket/atoll", arguments);
    s3.open_to(&mut command);
    Running::new(command.spawn().unwrap()).finish()
}

#[test]
fn weights_are_read_beside_a_model_in_a_bucket() {
    let s3 = S3::start(0);
    let models = s3.folder.path().join("bucket/models");
    std::fs::create_dir_all(&models).unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models");
    let put = |name: &str| std::fs::copy(data.join(name), models.join(name)).unwrap();
    put("external.onnx");
    let missing = run(&s3, &["--format", "csv", "-c", PREDICT]);
    missing.fails_naming(&[
        "model s3://bucket/models/external.onnx keeps weights in a file beside it",
        "s3://bucket/models/external.onnx.data",
    ]);
    put("external.onnx.data");
    let expected = "y\n\"[18.0,22.0,26.0]\"\n";
    let output = run(&s3, &["--format", "csv", "-c", PREDICT]).ok();
    assert_eq!(output.stdout, expected);
    let cluster = Server::cluster(1, |command| s3.open_to(command));
    let address = cluster.address();
    let arguments = ["--format", "csv", "--cluster", &address, "-c", PREDICT];
    assert_eq!(run(&s3, &arguments).ok().stdout, expected);
}
