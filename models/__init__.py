"""Generative models: the contract that every family keeps, and what is written once for all of them.

contract (turns, terms, draws, capabilities), family and registry (which families there are), conditioning, guidance,
drawing, samplers (of whatever denoises), checkpoint, folder, card, pixels; the zoo's families, a file each;
stages/ is what is fitted to a trained model: flow, weak flow, grain.
"""
