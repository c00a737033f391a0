"""Generative models: the contract that every family keeps, and what is written once for all of them.

contract (turns, terms, draws, capabilities), family and registry (which families there are), conditioning, guidance,
drawing, checkpoint, folder, pixels; stages/ holds what is fitted to a trained model: flow, weak flow, grain.
"""
