//! Prints the CustomResourceDefinitions.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in crds::generate::custom_resource_definitions()? {
        println!("# {}\n{}", file.name, file.content);
    }
    Ok(())
}
