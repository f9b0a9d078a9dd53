"""The latent space as a tool: search by examples, walks, concept axes and analogies over the chunks' vectors."""
