"""What generated patches are worth: measures of realism, fidelity, copying and latents, as pure functions of arrays."""
