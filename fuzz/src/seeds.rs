//! Writes the first inputs of each target, made of real frames, into `corpus/`.

#[path = "../../connectors/pulsar/tests/anything/checks.rs"]
#[allow(dead_code)]
mod checks;
#[path = "../../connectors/pulsar/tests/anything/golden.rs"]
mod golden;
#[path = "../../connectors/pulsar/tests/anything/play.rs"]
#[allow(dead_code)]
mod play;

use std::path::Path;
use std::{fs, io};

fn main() -> io::Result<()> {
    write("frame", golden::streams())?;
    write("entry", golden::entries())?;
    write("machine", golden::scripts())
}

fn write(target: &str, seeds: Vec<Vec<u8>>) -> io::Result<()> {
    let folder = Path::new("corpus").join(target);
    fs::create_dir_all(&folder)?;
    for (at, seed) in seeds.into_iter().enumerate() {
        fs::write(folder.join(format!("golden-{at:03}")), seed)?;
    }
    Ok(())
}
