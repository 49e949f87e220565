//! The bill of materials: what the package is made of, in CycloneDX
//! (<https://cyclonedx.org/docs/1.5/json/>).

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::VERSION;
use super::crates::{Crate, Id};
use crate::setup::Library;

/// The bill as JSON. Nothing in it depends on when or where it was made.
///
/// `library` is there if the package holds it; a wheel only requires it.
pub(crate) fn render(
    target: &str,
    library: Option<&Library>,
    crates: &[Crate],
) -> Result<Vec<u8>> {
    let root = crates
        .iter()
        .find(|one| one.id.name == "atoll")
        .context("the crate atoll is not linked")?;
    let library_ref =
        library.map(|library| format!("pkg:pypi/onnxruntime@{}", library.version));
    let others = crates.iter().filter(|one| one.id != root.id);
    let mut components: Vec<Value> = others.map(component).collect();
    components.extend(library.map(|library| {
        json!({
            "type": "library",
            "bom-ref": library_ref,
            "name": "onnxruntime",
            "version": library.version,
            "description": "The library that applies ONNX models, from its wheel",
            "purl": library_ref,
            "licenses": [{"license": {"id": "MIT"}}],
            "hashes": [{"alg": "SHA-256", "content": library.sha256}],
        })
    }));
    let mut dependencies: Vec<Value> = crates
        .iter()
        .map(|one| {
            let mut on: Vec<String> = one.dependencies.iter().map(Id::purl).collect();
            if one.id == root.id {
                on.extend(library_ref.clone());
            }
            json!({"ref": one.id.purl(), "dependsOn": on})
        })
        .collect();
    let library_ref = library_ref.iter();
    dependencies
        .extend(library_ref.map(|library| json!({"ref": library, "dependsOn": []})));
    let mut main = component(root);
    main["type"] = "application".into();
    main["properties"] = json!([{"name": "cargo:target", "value": target}]);
    let bill = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": main,
            "tools": {"components": [{
                "type": "application",
                "name": "cargo xtask package",
                "version": VERSION,
            }]},
        },
        "components": components,
        "dependencies": dependencies,
    });
    let mut text = serde_json::to_vec_pretty(&bill)?;
    text.push(b'\n');
    Ok(text)
}

fn component(one: &Crate) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": one.id.purl(),
        "name": one.id.name,
        "version": one.id.version,
        "purl": one.id.purl(),
    });
    if let Some(licence) = &one.licence {
        component["licenses"] = json!([{"expression": expression(licence)}]);
    }
    if let Some(checksum) = &one.checksum {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    if let Some(repository) = &one.repository {
        component["externalReferences"] = json!([{"type": "vcs", "url": repository}]);
    }
    component
}

/// Older manifests write `MIT/Apache-2.0` where SPDX wants `MIT OR Apache-2.0`.
fn expression(licence: &str) -> String {
    let parts: Vec<&str> = licence.split('/').map(str::trim).collect();
    parts.join(" OR ")
}

impl Id {
    /// What it is called among packages of all kinds.
    fn purl(&self) -> String {
        // The one character of versions that means something else in a purl.
        let version = self.version.replace('+', "%2B");
        format!("pkg:cargo/{}@{version}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_expressions_become_new_ones() {
        assert_eq!(expression("MIT/Apache-2.0"), "MIT OR Apache-2.0");
        assert_eq!(expression("MIT / Zlib"), "MIT OR Zlib");
        assert_eq!(expression("(A OR B) AND C"), "(A OR B) AND C");
    }
}
