"""LTX-2: video and its sound denoised together, made small and refined at twice the size.

A "latent" artifact holds both: `video` float32 [1, channels, time, height, width] and `audio`
float32 [1, places, features], as the denoiser has them (channels at mean 0, deviation 1). What
`encode_frames` makes of a film holds `video` alone.
A "features" artifact holds what each of the two reads of each text.
"""
