use super::*;
pub(super) fn run(_: &Siege, _: &mut dyn FnMut(Row)) -> Result<()> {
    Ok(())
}
