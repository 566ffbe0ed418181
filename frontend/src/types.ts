/** The data that plmsae writes; `plmsae/atlas/` says what each field means. */

export interface Index {
  model: {
    name: string; uri: string; plm: string; layer: number; arch: string; k: number; d_sae: number;
    metrics: Record<string, number>;
  };
  source: string;
  concepts: string[];
  concept_rows: ConceptRow[];
  patterns: string[];
  latents: {
    x: number[]; y: number[]; title: string[]; claim: string[]; concepts: [number, number][][]; f1: (number | null)[];
    density: number[]; pattern: number[]; proteins: number[]; max: number[];
  };
  proteins: { accession: string[]; description: string[]; length: number[] };
  structures: number[];
  compared: { name: string; uri: string }[];
  chunk_sizes: { latents: number; proteins: number };
}

export interface ConceptRow {
  concept: string; kind: string; caller?: string; latent: number | null; f1: number | null;
  f1_low?: number | null; f1_high?: number | null; f1_every_residue?: number | null;
  f1_neuron?: number | null; f1_pca?: number | null; f1_random_plm_sae?: number | null; f1_best_hit?: number | null; f1_nearest_embedding?: number | null;
  precision_residue?: number | null; recall?: number | null; n_instances?: number | null;
  call_precision?: number | null; call_precision_low?: number | null; span_f1?: number | null;
}

export interface Example {
  accession: string; description: string; length: number; activation: number; peak: number;
  active: [number, number][]; window_start: number; window: string; activations: number[];
  labels: string[]; labels_at_peak: string[];
}

export interface Latent {
  latent: number; title: string; summary: string; description: string; byline: string;
  verified: boolean; density: number; max_activation: number; n_proteins: number; n_active: number;
  pattern: string; run_length: number; coverage: number; n_peaks: number;
  concepts: { concept: string; f1: number; precision: number | null; recall: number | null; threshold: number }[];
  examples: Example[];
  levels: { low: number; high: number; n_proteins: number; accessions: string[] }[];
  residues: { residue: string; share: number; fold: number }[];
  logo: Record<string, number>[];
  histogram: number[];
  together: [number, number, number][];
  nearest: [number, number][];
  terms: { term: string; namespace: string; fold: number; q: number; n_both: number; n_active: number; n_term: number }[];
}

export interface Call {
  start: number; end: number; concept: string; score?: number; precision?: number | null;
  precision_low?: number | null; probability?: number | null; latents?: number[];
}

export interface Feature { latent: number; max: number; peak: number; runs: number[][] }

export interface Protein {
  accession: string; description: string; sequence: string; labels: [number, number, string][];
  annotations: Call[]; proposals: Call[]; n_features: number; features: Feature[];
}

export interface Pair {
  latent: number; other: number; r: number; cosine: number | null; back: boolean;
  concept: string | null; f1: number | null; other_concept: string | null; other_f1: number | null;
  nearest?: number; nearest_cosine?: number;
}

export interface Comparison {
  name: string; uri: string; n_latents: number; same_space: boolean; pairs: Pair[];
  concepts: { concept: string; f1: number | null; latent: number | null; other_f1: number | null; other_latent: number | null; change: string }[];
}
