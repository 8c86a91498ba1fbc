"""Tiny random models of transformers of every type that is read, as folders."""

import torch


def _configurations(transformers):
    """Return class of the model, configuration and front-end by name; the type, if not it."""
    t = transformers
    blocks = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 37,
    }
    waves = dict(
        **blocks, conv_dim=(16,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2
    )
    squeezed = dict(**waves, conv_kernel=(10, 3, 3, 3, 3, 2, 2), conv_stride=(5, 2, 2, 2, 2, 2, 2))
    text = {
        "vocab_size": 60,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 37,
        "projection_dim": 16,
        "max_position_embeddings": 40,
    }
    audio = {
        "patch_embeds_hidden_size": 16,
        "hidden_size": 64,
        "depths": [1, 1, 1],
        "num_attention_heads": [2, 2, 2],
        "projection_dim": 16,
        "spec_size": 64,
        "num_mel_bins": 16,
        "window_size": 4,
    }
    large = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
    whisper = {
        "d_model": 32,
        "encoder_layers": 3,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 37,
        "decoder_ffn_dim": 37,
        "vocab_size": 100,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 1,
        "suppress_tokens": None,
        "begin_suppress_tokens": None,
        "max_source_positions": 100,
    }

    def waveform():
        return t.Wav2Vec2FeatureExtractor(do_normalize=True)

    def clap(fused):
        kind = "fusion" if fused else "rand_trunc"
        return (
            t.ClapModel,
            t.ClapConfig(
                text_config=text, audio_config={**audio, "enable_fusion": fused}, projection_dim=16
            ),
            lambda: t.ClapFeatureExtractor(feature_size=16, truncation=kind, max_length_s=2),
        )

    return {
        "wav2vec2": (t.Wav2Vec2Model, t.Wav2Vec2Config(**waves), waveform),
        "wav2vec2-large": (t.Wav2Vec2Model, t.Wav2Vec2Config(**waves, **large), waveform),
        "wav2vec2-conformer": (
            t.Wav2Vec2ConformerModel,
            t.Wav2Vec2ConformerConfig(**waves),
            waveform,
        ),
        "hubert": (t.HubertModel, t.HubertConfig(**waves), waveform),
        "wavlm": (t.WavLMModel, t.WavLMConfig(**waves), waveform),
        "data2vec-audio": (t.Data2VecAudioModel, t.Data2VecAudioConfig(**waves), waveform),
        "unispeech": (t.UniSpeechModel, t.UniSpeechConfig(**waves), waveform),
        "unispeech-sat": (t.UniSpeechSatModel, t.UniSpeechSatConfig(**waves), waveform),
        "sew": (t.SEWModel, t.SEWConfig(**squeezed), waveform),
        "sew-d": (t.SEWDModel, t.SEWDConfig(**squeezed), waveform),
        "wav2vec2-bert": (
            t.Wav2Vec2BertModel,
            t.Wav2Vec2BertConfig(**blocks, feature_projection_input_dim=160),
            t.SeamlessM4TFeatureExtractor,
        ),
        "whisper": (
            t.WhisperModel,
            t.WhisperConfig(**whisper),
            lambda: t.WhisperFeatureExtractor(chunk_length=2),
        ),
        "audio-spectrogram-transformer": (
            t.ASTModel,
            t.ASTConfig(**blocks, max_length=136, num_mel_bins=64),
            lambda: t.ASTFeatureExtractor(max_length=136, num_mel_bins=64),
        ),
        "clap": clap(False),
        "clap-fused": clap(True),
        "encodec": (
            t.EncodecModel,
            t.EncodecConfig(num_filters=4, hidden_size=16, num_lstm_layers=1, codebook_dim=16),
            t.EncodecFeatureExtractor,
        ),
        "dac": (
            t.DacModel,
            t.DacConfig(encoder_hidden_size=4, decoder_hidden_size=32),
            t.DacFeatureExtractor,
        ),
    }


NAMES = (
    "audio-spectrogram-transformer",
    "clap",
    "clap-fused",
    "dac",
    "data2vec-audio",
    "encodec",
    "hubert",
    "sew",
    "sew-d",
    "unispeech",
    "unispeech-sat",
    "wav2vec2",
    "wav2vec2-bert",
    "wav2vec2-conformer",
    "wav2vec2-large",
    "wavlm",
    "whisper",
)


def make_model(folder, name):
    """Save a model; returns it with its front-end of transformers."""
    import transformers

    cls, config, frontend = _configurations(transformers)[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = cls(config).eval()
    model.save_pretrained(folder)
    extractor = frontend()
    extractor.save_pretrained(folder)
    return model, extractor


def add_tokenizer(folder):
    """Save a tokenizer of letters beside a model of text."""
    import transformers
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = {text: k for k, text in enumerate([*special, *"abcdefghijklmnopqrstuvwxyz "])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=38, **names
    )
    fast.save_pretrained(folder)
    return fast
