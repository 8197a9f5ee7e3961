//! Prints the CustomResourceDefinitions, each after a comment with its file name.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in crds::generate::custom_resource_definitions()? {
        println!("# {}\n{}", file.name, file.content);
    }
    Ok(())
}
