//! The `shoal` program.

/// Chunks of 4 MiB come and go all the time; the system's allocator gives their pages back and takes fresh ones each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    shoal::cli::main()
}
