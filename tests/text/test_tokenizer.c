/* Rules of tokenizer.json on a vocabulary of a few letters: components, added tokens, broken files, invalid text,
 * and merging against a slow reference. */
#include "text/text_test.h"

/* ---- files made of parts ---- */

typedef struct parts {
    const char *normalizer, *pre, *model, *added, *post, *decoder; /* NULL = the standard one */
} parts;

#define SPELL_SPACE "\xc4\xa0" /* U+0120 */
static const char letters[] =
    "{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"" SPELL_SPACE "\":3,\"ab\":4,\"abc\":5,\"" SPELL_SPACE
    "a\":6,\"A\":7,\"B\":8,\"1\":9,\".\":10,\"X\":11,\"aa\":12},"
    "\"merges\":[[\"a\",\"b\"],[\"ab\",\"c\"],[\"" SPELL_SPACE "\",\"a\"],[\"a\",\"a\"]]}";
static const char level[] = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}";

static char *make_json(const parts *p) {
    dt_buf b = {0};
    dt_buf_addf(&b,
                "{\"normalizer\":%s,\"pre_tokenizer\":%s,\"model\":%s,\"added_tokens\":%s,\"post_processor\":%s,"
                "\"decoder\":%s}",
                p->normalizer ? p->normalizer : "null", p->pre ? p->pre : level, p->model ? p->model : letters,
                p->added ? p->added : "[]", p->post ? p->post : "null",
                p->decoder ? p->decoder : "{\"type\":\"ByteLevel\"}");
    return dt_buf_take(&b);
}

static duet_status open_parts(const parts *p, duet_tokenizer **t, duet_err *err) {
    char *json = make_json(p);
    duet_status st = dt_tokenizer_parse("file", json, strlen(json), NULL, 0, t, err);
    free(json);
    return st;
}

#define SPLIT(regex, behavior)                                                                                         \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex                    \
    "\"},\"behavior\":\"" behavior                                                                                     \
    "\",\"invert\":false},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}"
#define INVERT(regex, behavior)                                                                                        \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex                    \
    "\"},\"behavior\":\"" behavior                                                                                     \
    "\",\"invert\":true},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}"
#define ADDED(flags) "[{\"id\":13,\"content\":\"XX\"," flags "}]"
#define TEMPLATE(list)                                                                                                 \
    "{\"type\":\"TemplateProcessing\",\"single\":[" list                                                               \
    "],\"special_tokens\":{\"XX\":{\"id\":\"XX\",\"ids\":[13],\"tokens\":[\"XX\"]}}}"

/* Of characters: a space is U+2581, one byte has a token, what else lacks one is unknown. */
#define CHARS_MODEL(more)                                                                                              \
    "{\"type\":\"BPE\",\"byte_fallback\":true," more "\"vocab\":{\"?\":0,\"" DT_SPACE_CHAR                             \
    "\":1,\"a\":2,\"b\":3,\"" DT_SPACE_CHAR "a\":4,\"ab\":5,\"<0x63>\":6},\"merges\":[[\"" DT_SPACE_CHAR               \
    "\",\"a\"],[\"a\",\"b\"]]}"
#define REPLACE "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" DT_SPACE_CHAR "\"}"
#define PREPEND "{\"type\":\"Prepend\",\"prepend\":\"" DT_SPACE_CHAR "\"}"
#define REPLACE_BACK "{\"type\":\"Replace\",\"pattern\":{\"String\":\"" DT_SPACE_CHAR "\"},\"content\":\" \"}"
#define CHARS_DECODER                                                                                                  \
    "{\"type\":\"Sequence\",\"decoders\":[" REPLACE_BACK ",{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}]}"
#define CHARS .model = CHARS_MODEL("\"unk_token\":\"?\",\"fuse_unk\":true,"), .decoder = CHARS_DECODER
#define SEQUENCE(list) "{\"type\":\"Sequence\",\"normalizers\":[" list "]}"
#define METASPACE(scheme) "{\"type\":\"Metaspace\",\"prepend_scheme\":\"" scheme "\"}"

static const struct {
    const char *name;
    parts p;
    const char *text;
    int flags, n;
    int32_t want[12];
} rules[] = {
    {"merges by rank",                          {0},                                                                 "abc",          0,                    1, {5}               },
    {"leftmost of equal ranks",                 {0},                                                                 "aaa",          0,                    2, {12, 0}           },
    {"rank before place",                       {0},                                                                 "aab",          0,                    2, {0, 4}            },
    {"empty",                                   {0},                                                                 "",             0,                    0, {0}               },
    {"merges as strings",
     {.model = "{\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"},
     "abab",                                                                                                                         0,
     2,                                                                                                                                                       {2, 2}            },
    {"escapes in vocabulary and merges",
     {.model = "{ \"merges\" : [ [ \"\\u0061\" , \"b\" ] , \"ab \\u010a\" ] ,\n \"vocab\" : "
               "{\"\\u0061\":0,\"b\" : 1 , \"a\\u0062\":2,\"\\u010a\":3,\"\\uD83D\\uDE00\":4,\"ab\\u010A\":5}\n}"},
     "ab\na",                                                                                                                        0,
     2,                                                                                                                                                       {5, 0}            },
    {"last line of a pair counts",
     {.model = "{\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"aa\":3},\"merges\":[\"a a\",\"a b\",\"a a\"]}"},
     "aab",                                                                                                                          0,
     2,                                                                                                                                                       {0, 2}            },
    {"ignore_merges",
     {.model = "{\"ignore_merges\":true,\"vocab\":{\"a\":0,\"b\":1,\"ba\":2},\"merges\":[]}"},
     "ba",                                                                                                                           0,
     1,                                                                                                                                                       {2}               },
    {"merges not ignored",                      {.model = "{\"vocab\":{\"a\":0,\"b\":1,\"ba\":2},\"merges\":[]}"},   "ba",           0,                    2, {1, 0}            },
    {"Isolated",                                {.pre = SPLIT("b", "Isolated")},                                     "abc",          0,                    3, {0, 1, 2}         },
    {"Removed",                                 {.pre = SPLIT("b", "Removed")},                                      "abbc",         0,                    2, {0, 2}            },
    {"MergedWithPrevious",                      {.pre = SPLIT("b", "MergedWithPrevious")},                           "abc",          0,                    2, {4, 2}            },
    {"MergedWithNext",                          {.pre = SPLIT("a", "MergedWithNext")},                               "aabc",         0,                    2, {0, 5}            },
    {"Contiguous",                              {.pre = SPLIT("a", "Contiguous")},                                   "aab",          0,                    2, {12, 1}           },
    {"invert",                                  {.pre = INVERT("ab", "Removed")},                                    "abcab",        0,                    2, {4, 4}            },
    {"empty matches",                           {.pre = SPLIT("(?=b)", "Isolated")},                                 "abab",         0,                    4, {0, 1, 0, 1}      },
    {"literal pattern",
     {.pre = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"String\":\".\"},"
             "\"behavior\":\"Removed\"},"
             "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}"},
     "a.b",                                                                                                                          0,
     2,                                                                                                                                                       {0, 1}            },
    {"ByteLevel's own pattern",
     {.pre = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"},
     "ab abc",                                                                                                                       0,
     3,                                                                                                                                                       {4, 3, 5}         },
    {"add_prefix_space",                        {.pre = "{\"type\":\"ByteLevel\",\"use_regex\":false}"},             "a",            0,                    1, {6}               },
    {"add_prefix_space once",                   {.pre = "{\"type\":\"ByteLevel\",\"use_regex\":false}"},             " a",           0,                    1, {6}               },
    {"Digits",
     {.pre = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true},"
             "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}"},
     "a11",                                                                                                                          0,
     3,                                                                                                                                                       {0, 9, 9}         },
    {"NFKC",                                    {.normalizer = "{\"type\":\"NFKC\"}"},                               "\xef\xbd\x81", 0,                    1, {0}               }, /* full-width a */
    {"Sequence of normalizers",
     {.normalizer = "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKD\"},{\"type\":\"NFC\"}]}"},
     "\xef\xbd\x81",                                                                                                                 0,
     1,                                                                                                                                                       {0}               },
    {"\\s has no U+180E",
     {.pre = SPLIT("[^\\\\s]+", "Removed")},
     "\xe1\xa0\x8e"
     "a b",                                                                                                                          0,
     1,                                                                                                                                                       {3}               },

    {"added",                                   {.added = ADDED("\"special\":true")},                                "aXXb",         0,                    3, {0, 13, 1}        },
    {"added, plain",                            {.added = ADDED("\"special\":true")},                                "aXXb",         DUET_ENC_PLAIN,       4, {0, 11, 11, 1}    },
    {"special left as text",                    {.added = ADDED("\"special\":true")},                                "aXXb",         DUET_ENC_NO_SPECIAL,  4, {0, 11, 11, 1}    },
    {"blanks, plain",                           {.added = "[{\"id\":13,\"content\":\" \\n\",\"special\":false}]"}, "a \nb", DUET_ENC_PLAIN, 3, {0, 13, 1}},
    {"not special kept",                        {.added = ADDED("\"special\":false")},                               "aXXb",         DUET_ENC_NO_SPECIAL,  3, {0, 13, 1}        },
    {"single word refused",                     {.added = ADDED("\"single_word\":true")},                            "aXX XX",       0,                    5, {0, 11, 11, 3, 13}},
    {"lstrip",                                  {.added = ADDED("\"lstrip\":true")},                                 "a  XX b",      0,                    4, {0, 13, 3, 1}     },
    {"rstrip",                                  {.added = ADDED("\"rstrip\":true")},                                 "a XX  b",      0,                    4, {0, 3, 13, 1}     },
    {"rstrip before lstrip",                    {.added = ADDED("\"rstrip\":true,\"lstrip\":true")},                 "XX XX",        0,                    2, {13, 13}          },
    {"normalized",
     {.added = ADDED("\"normalized\":true"), .normalizer = "{\"type\":\"NFKC\"}"},
     "\xef\xbc\xb8X",                                                                                                                0,
     1,                                                                                                                                                       {13}              },
    {"not normalized",
     {.added = ADDED("\"normalized\":false"), .normalizer = "{\"type\":\"NFKC\"}"},
     "\xef\xbc\xb8X",                                                                                                                0,
     2,                                                                                                                                                       {11, 11}          },
    {"longest wins",
     {.added = "[{\"id\":13,\"content\":\"XX\"},{\"id\":14,\"content\":\"XXa\"},{\"id\":15,\"content\":\"aX\"}]"},
     "XXaXXb",                                                                                                                       0,
     3,                                                                                                                                                       {14, 13, 1}       },
    {"leftmost before longest",
     {.added = "[{\"id\":13,\"content\":\"aX\"},{\"id\":14,\"content\":\"XXX\"}]"},
     "aXXX",                                                                                                                         0,
     3,                                                                                                                                                       {13, 11, 11}      },
    {"a token of the vocabulary is added",
     {.added = "[{\"id\":5,\"content\":\"abc\",\"special\":true}]"},
     "aabc",                                                                                                                         0,
     2,                                                                                                                                                       {0, 5}            },

    {"characters",                              {CHARS, .normalizer = REPLACE, .pre = "null"},                       "ab a",         0,                    2, {5, 4}            },
    {"characters, U+2581 is a space",
     {CHARS, .normalizer = REPLACE, .pre = "null"},
     "b" DT_SPACE_CHAR "a",
     0,                                                                                                                                                    2,
     {3, 4}                                                                                                                                                                     },
    {"characters, prepend",                     {CHARS, .normalizer = SEQUENCE(PREPEND "," REPLACE), .pre = "null"}, "a a",          0,                    2, {4, 4}            },
    {"characters, prepend after a space",
     {CHARS, .normalizer = SEQUENCE(PREPEND "," REPLACE), .pre = "null"},
     " a",                                                                                                                           0,
     2,                                                                                                                                                       {1, 4}            },
    {"characters, normal form first",
     {CHARS, .normalizer = SEQUENCE("{\"type\":\"NFKC\"}," REPLACE), .pre = "null"},
     "\xc2\xa0\xef\xbd\x81",                                                                                                         0,
     1,                                                                                                                                                       {4}               },
    {"a byte",                                  {CHARS, .normalizer = REPLACE, .pre = "null"},                       "acb",          0,                    3, {2, 6, 3}         },
    {"unknown ones fused",                      {CHARS, .normalizer = REPLACE, .pre = "null"},                       "axyb",         0,                    3, {2, 0, 3}         },
    {"unknown ones not fused",
     {.model = CHARS_MODEL("\"unk_token\":\"?\","), .decoder = CHARS_DECODER, .normalizer = REPLACE, .pre = "null"},
     "axyb",                                                                                                                         0,
     4,                                                                                                                                                       {2, 0, 0, 3}      },
    {"no text is a byte token",                 {CHARS, .normalizer = REPLACE, .pre = "null"},                       "<0x63>",       0,                    1, {0}               },
    {"characters, Split by a space is nothing",
     {CHARS, .normalizer = REPLACE,
      .pre = "{\"type\":\"Split\",\"pattern\":{\"String\":\" \"},\"behavior\":\"Removed\"}"},
     "b ab",                                                                                                                         0,
     3,                                                                                                                                                       {3, 4, 3}         },
    {"Metaspace always",
     {CHARS, .pre = METASPACE("always"), .added = "[{\"id\":7,\"content\":\"XX\",\"special\":true}]"},
     "a bXXa",                                                                                                                       0,
     5,                                                                                                                                                       {4, 1, 3, 7, 4}   },
    {"Metaspace first",
     {CHARS, .pre = METASPACE("first"), .added = "[{\"id\":7,\"content\":\"XX\",\"special\":true}]"},
     "aXXa",                                                                                                                         0,
     3,                                                                                                                                                       {4, 7, 2}         },
    {"Metaspace first, behind a token",
     {CHARS, .pre = METASPACE("first"), .added = "[{\"id\":7,\"content\":\"XX\",\"special\":true}]"},
     "XXa",                                                                                                                          0,
     2,                                                                                                                                                       {7, 2}            },
    {"Metaspace never",                         {CHARS, .pre = METASPACE("never")},                                  "a a",          0,                    2, {2, 4}            },
    {"Metaspace where a space is",              {CHARS, .pre = METASPACE("always")},                                 " a",           0,                    1, {4}               },

    {"template",
     {.added = ADDED("\"special\":true"),
      .post = TEMPLATE("{\"SpecialToken\":{\"id\":\"XX\"}},{\"Sequence\":{\"id\":\"A\"}}")},
     "a",                                                                                                                            DUET_ENC_ADD_SPECIAL,
     2,                                                                                                                                                       {13, 0}           },
    {"template not asked for",
     {.added = ADDED("\"special\":true"),
      .post = TEMPLATE("{\"SpecialToken\":{\"id\":\"XX\"}},{\"Sequence\":{\"id\":\"A\"}}")},
     "a",                                                                                                                            0,
     1,                                                                                                                                                       {0}               },
    {"template behind, in a Sequence",
     {.added = ADDED("\"special\":true"),
      .post = "{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"}," TEMPLATE(
          "{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":\"XX\"}}") "]}"},
     "",                                                                                                                             DUET_ENC_ADD_SPECIAL,
     1,                                                                                                                                                       {13}              },
};

static void test_rules(void **state) {
    (void)state;
    size_t wrong = 0;
    for (size_t i = 0; i < DT_COUNT(rules); i++) {
        duet_tokenizer *t = NULL;
        duet_err err = {{0}};
        duet_ids ids = {0};
        duet_status st = open_parts(&rules[i].p, &t, &err);
        if (!st)
            st = duet_tokenizer_encode(t, rules[i].text, strlen(rules[i].text), rules[i].flags, &ids, &err);
        if (st)
            print_message("case: %s: %s\n", rules[i].name, err.text);
        if (st || !check_ids(rules[i].name, &ids, rules[i].want, (size_t)rules[i].n))
            wrong++;
        duet_ids_free(&ids);
        duet_tokenizer_close(t);
    }
    assert_int_equal(wrong, 0);
}

/* ---- broken and unknown files ---- */

#define VOCAB(v, m) "{\"type\":\"BPE\",\"vocab\":" v ",\"merges\":" m "}"

static const struct {
    const char *name;
    parts p;
    duet_status want;
    const char *says; /* a part of the sentence */
} broken[] = {
    {"merge of an unknown left",
     {.model = VOCAB("{\"a\":0,\"b\":1}", "[[\"a\",\"b\"]]")},
     DUET_E_FORMAT,                                                                                                                       "merge 0 makes \"ab\""               },
    {"merge names an unknown",
     {.model = VOCAB("{\"a\":0,\"b\":1}", "[[\"a\",\"z\"]]")},
     DUET_E_FORMAT,                                                                                                                       "merge 0 names \"z\""                },
    {"merge of three",               {.model = VOCAB("{\"a\":0}", "[\"a a a\"]")},                                    DUET_E_FORMAT,      "merge 0 is not a pair"              },
    {"merge of one",                 {.model = VOCAB("{\"a\":0}", "[[\"a\"]]")},                                      DUET_E_FORMAT,      "merge 0 is not a pair"              },
    {"merge is a number",            {.model = VOCAB("{\"a\":0}", "[7]")},                                            DUET_E_FORMAT,      "merge 0 is not a pair"              },
    {"id twice",                     {.model = VOCAB("{\"a\":0,\"b\":0}", "[]")},                                     DUET_E_FORMAT,      "id 0 is given twice"                },
    {"token twice",                  {.model = VOCAB("{\"a\":0,\"a\":1}", "[]")},                                     DUET_E_FORMAT,      "ids 0 and 1 are the same token"     },
    {"id below zero",                {.model = VOCAB("{\"a\":-1}", "[]")},                                            DUET_E_FORMAT,      "the id -1"                          },
    {"huge id",                      {.model = VOCAB("{\"a\":99999999999}", "[]")},                                   DUET_E_FORMAT,      "outside 0.."                        },
    {"gap",                          {.model = VOCAB("{\"a\":0,\"b\":900000}", "[]")},                                DUET_E_FORMAT,      "largest id is 900000"               },
    {"id is text",                   {.model = VOCAB("{\"a\":\"0\"}", "[]")},                                         DUET_E_FORMAT,      "not a whole number"                 },
    {"id is not whole",              {.model = VOCAB("{\"a\":0.5}", "[]")},                                           DUET_E_FORMAT,      "not a whole number"                 },
    {"vocab is a list",              {.model = VOCAB("[]", "[]")},                                                    DUET_E_FORMAT,      "model.vocab is an array"            },
    {"merges missing",               {.model = "{\"type\":\"BPE\",\"vocab\":{\"a\":0}}"},                             DUET_E_FORMAT,      "model.merges is null"               },
    {"model missing",                {.model = "null"},                                                               DUET_E_FORMAT,      "model is null"                      },
    {"another model",                {.model = "{\"type\":\"Unigram\",\"vocab\":[]}"},                                DUET_E_UNSUPPORTED, "\"Unigram\""                        },
    {"dropout",                      {.model = "{\"dropout\":0.1,\"vocab\":{},\"merges\":[]}"},                       DUET_E_UNSUPPORTED, "dropout"                            },
    {"suffix",
     {.model = "{\"end_of_word_suffix\":\"</w>\",\"vocab\":{},\"merges\":[]}"},
     DUET_E_UNSUPPORTED,                                                                                                                  "end_of_word_suffix"                 },
    {"another normalizer",           {.normalizer = "{\"type\":\"Lowercase\"}"},                                      DUET_E_UNSUPPORTED, "\"Lowercase\""                      },
    {"normalizer without type",      {.normalizer = "{}"},                                                            DUET_E_FORMAT,      "normalizer has no \"type\""         },
    {"another pre_tokenizer",        {.pre = "{\"type\":\"Metaspace\"}"},                                             DUET_E_UNSUPPORTED, "\"Metaspace\""                      },
    {"no byte level",                {.pre = "null"},                                                                 DUET_E_UNSUPPORTED, "no ByteLevel"                       },
    {"step after the byte level",
     {.pre = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\",\"add_prefix_space\":false},{\"type\":"
             "\"Digits\"}]}"},
     DUET_E_UNSUPPORTED,                                                                                                                  "after ByteLevel"                    },
    {"another behavior",             {.pre = SPLIT("a", "Sometimes")},                                                DUET_E_UNSUPPORTED, "\"Sometimes\""                      },
    {"characters without spaces",    {CHARS, .pre = "null"},                                                          DUET_E_UNSUPPORTED, "writes spaces as U+2581"            },
    {"characters by bytes",          {CHARS, .normalizer = REPLACE},                                                  DUET_E_UNSUPPORTED, "\"ByteLevel\""                      },
    {"characters by a pattern",
     {CHARS, .normalizer = REPLACE, .pre = SPLIT("b", "Isolated")},
     DUET_E_UNSUPPORTED,                                                                                                                  "Split by anything but spaces"       },
    {"Replace of something",
     {CHARS, .normalizer = "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"b\"}", .pre = "null"},
     DUET_E_UNSUPPORTED,                                                                                                                  "\"Replace\""                        },
    {"Replace by bytes",             {.normalizer = REPLACE},                                                         DUET_E_UNSUPPORTED, "\"Replace\""                        },
    {"normal form behind Replace",
     {CHARS, .normalizer = SEQUENCE(REPLACE ",{\"type\":\"NFKC\"}"), .pre = "null"},
     DUET_E_UNSUPPORTED,                                                                                                                  "NFKC after"                         },
    {"Metaspace scheme",             {CHARS, .pre = METASPACE("sometimes")},                                          DUET_E_UNSUPPORTED, "prepend_scheme"                     },
    {"Metaspace character",
     {CHARS, .pre = "{\"type\":\"Metaspace\",\"replacement\":\"_\"}"},
     DUET_E_UNSUPPORTED,                                                                                                                  "U+2581"                             },
    {"decoder without bytes",
     {.model = CHARS_MODEL(""), .normalizer = REPLACE, .pre = "null", .decoder = REPLACE_BACK},
     DUET_E_UNSUPPORTED,                                                                                                                  "ByteFallback"                       },
    {"decoder of bytes",
     {.model = CHARS_MODEL(""), .normalizer = REPLACE, .pre = "null"},
     DUET_E_UNSUPPORTED,                                                                                                                  "\"ByteLevel\""                      },
    {"unk_token unknown",
     {.model = CHARS_MODEL("\"unk_token\":\"!\","), .decoder = CHARS_DECODER, .normalizer = REPLACE, .pre = "null"},
     DUET_E_FORMAT,                                                                                                                       "\"!\" is not in the vocabulary"     },
    {"unk_token a number",
     {.model = CHARS_MODEL("\"unk_token\":3,"), .decoder = CHARS_DECODER, .normalizer = REPLACE, .pre = "null"},
     DUET_E_FORMAT,                                                                                                                       "unk_token is a number"              },
    {"broken pattern",               {.pre = SPLIT("(a", "Isolated")},                                                DUET_E_FORMAT,      "cannot be compiled"                 },
    {"class intersection",           {.pre = SPLIT("[a&&b]", "Isolated")},                                            DUET_E_UNSUPPORTED, "&&"                                 },
    {"another decoder",              {.decoder = "{\"type\":\"WordPiece\"}"},                                         DUET_E_UNSUPPORTED, "\"WordPiece\""                      },
    {"no decoder",                   {.decoder = "null"},                                                             DUET_E_UNSUPPORTED, "no decoder"                         },
    {"another post_processor",       {.post = "{\"type\":\"BertProcessing\"}"},                                       DUET_E_UNSUPPORTED, "\"BertProcessing\""                 },
    {"template without sequence",
     {.post = "{\"type\":\"TemplateProcessing\",\"single\":[]}"},
     DUET_E_FORMAT,                                                                                                                       "no sequence A"                      },
    {"template names nothing",
     {.post = TEMPLATE("{\"SpecialToken\":{\"id\":\"XX\"}},{\"Sequence\":{\"id\":\"A\"}}")},
     DUET_E_FORMAT,                                                                                                                       "an id that no token has"            },
    {"added tokens are an object",   {.added = "{}"},                                                                 DUET_E_FORMAT,      "added_tokens is an object"          },
    {"added without content",        {.added = "[{\"id\":13}]"},                                                      DUET_E_FORMAT,      "added_tokens[0] has no \"content\"" },
    {"added id taken",               {.added = "[{\"id\":0,\"content\":\"XX\"}]"},                                    DUET_E_FORMAT,      "which another token has"            },
    {"added against the vocabulary",
     {.added = "[{\"id\":13,\"content\":\"abc\"}]"},
     DUET_E_FORMAT,                                                                                                                       "the vocabulary gives it 5"          },
    {"added twice",
     {.added = "[{\"id\":13,\"content\":\"XX\"},{\"id\":14,\"content\":\"XX\"}]"},
     DUET_E_FORMAT,                                                                                                                       "the same added token"               },
    {"flag is a number",             {.added = ADDED("\"special\":1")},                                               DUET_E_FORMAT,      "added_tokens[0].special is a number"},
};

static void test_broken(void **state) {
    (void)state;
    size_t wrong = 0;
    for (size_t i = 0; i < DT_COUNT(broken); i++) {
        duet_tokenizer *t = NULL;
        duet_err err = {{0}};
        duet_status st = open_parts(&broken[i].p, &t, &err);
        if (st != broken[i].want || !strstr(err.text, broken[i].says) || strncmp(err.text, "file: ", 6) || t) {
            print_message("case: %s: %s: %s\n", broken[i].name, duet_status_name(st), err.text);
            wrong++;
        }
        duet_tokenizer_close(t);
    }
    assert_int_equal(wrong, 0);
}

/* Every beginning of a good file is refused without a leak or a wild read (the sanitizer build looks). */
static void test_truncated(void **state) {
    (void)state;
    const parts p = {.added = ADDED("\"special\":true"), .pre = SPLIT("a", "Isolated")};
    char *json = make_json(&p);
    for (size_t n = 0; n < strlen(json); n++) {
        duet_tokenizer *t = NULL;
        duet_err err = {{0}};
        assert_int_equal(dt_tokenizer_parse("file", json, n, NULL, 0, &t, &err), DUET_E_FORMAT);
        assert_null(t);
    }
    free(json);
}

/* ---- texts ---- */

static void test_invalid_utf8(void **state) {
    (void)state;
    static const struct {
        const char *name, *text;
        size_t n;
        const char *says;
    } cases[] = {
        {"stray continuation", "ab\x80",                   3,  "offset 2" },
        {"cut at the end",     "a\xe4\xb8",                3,  "offset 1" },
        {"overlong",           "\xc0\x80",                 2,  "offset 0" },
        {"surrogate",          "abc\xed\xa0\x80",          6,  "offset 3" },
        {"beyond the last",    "\xf4\x90\x80\x80",         4,  "offset 0" },
        {"after a NUL",        "a\0\xff",                  3,  "offset 2" },
        {"deep",               "aaaaaaaaaaaaaaaaaaaa\xfe", 21, "offset 20"},
    };
    duet_tokenizer *t = NULL;
    duet_err err = {{0}};
    must(open_parts(&(parts){0}, &t, &err), &err);
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        duet_ids ids = {0};
        print_message("case: %s\n", cases[i].name);
        dt_tok_push(&ids, 3);
        assert_int_equal(duet_tokenizer_encode(t, cases[i].text, cases[i].n, 0, &ids, &err), DUET_E_FORMAT);
        assert_non_null(strstr(err.text, cases[i].says));
        assert_int_equal(ids.n, 1); /* what was there stays */
        duet_ids_free(&ids);
    }
    duet_tokenizer_close(t);
}

/* One piece of 400,000 bytes: anything that looks at each of them again for each of them would take minutes. */
static void test_long_runs(void **state) {
    (void)state;
    static const char *const runs[] = {"a", "ab", "abc.", "A", "\xe4\xb8\xad", " ", "\n", "7", "!", "a\xcc\x81"};
    const char *merged[] = {"aa", "aaaa", "ab", "  ", "    ", "!!", "\xe4\xb8"};
    const size_t cut[] = {1, 2, 1, 1, 2, 1, 1};
    duet_tokenizer *t = NULL;
    duet_err err = {{0}};
    must(duet_tokenizer_build(NULL, merged, cut, DT_COUNT(merged), NULL, &t, &err), &err);
    for (size_t i = 0; i < DT_COUNT(runs); i++) {
        dt_buf b = {0};
        duet_ids ids = {0};
        duet_text back = {0};
        while (b.len < 400000)
            dt_buf_adds(&b, runs[i]);
        must(duet_tokenizer_encode(t, b.data, b.len, 0, &ids, &err), &err);
        must(duet_tokenizer_decode(t, ids.v, ids.n, false, &back, &err), &err);
        if (runs[i][1] != '\xcc') /* NFC makes one letter of the two */
            assert_true(check_text(runs[i], back.data, back.n, b.data, b.len));
        dt_buf_clear(&b);
        duet_ids_free(&ids);
        duet_text_free(&back);
    }
    duet_tokenizer_close(t);
}

static void test_outside_the_alphabet(void **state) {
    (void)state;
    duet_tokenizer *t = NULL;
    duet_err err = {{0}};
    duet_ids ids = {0};
    must(open_parts(&(parts){0}, &t, &err), &err);
    assert_int_equal(duet_tokenizer_encode(t, "ab \xc3\xa9", 5, 0, &ids, &err), DUET_E_FORMAT);
    assert_string_equal(err.text, "character \"\xc3\xa9\" at byte 3 is not in this tokenizer's alphabet");
    assert_int_equal(duet_tokenizer_encode(t, "a\nb", 3, 0, &ids, &err), DUET_E_FORMAT);
    assert_string_equal(err.text, "character \"\\x0a\" at byte 1 is not in this tokenizer's alphabet");
    assert_int_equal(ids.n, 0);
    duet_ids_free(&ids);
    duet_tokenizer_close(t);
}

static void test_tokens(void **state) {
    (void)state;
    duet_tokenizer *t = NULL;
    duet_err err = {{0}};
    duet_text text = {0};
    size_t n = 0;
    const parts p = {.added = "[{\"id\":13,\"content\":\"X "
                              "X\",\"special\":true},{\"id\":15,\"content\":\"\xc3\xa9\",\"special\":false}]"};
    must(open_parts(&p, &t, &err), &err);
    assert_int_equal(duet_tokenizer_size(t), 16);
    assert_int_equal(duet_tokenizer_id(t, SPELL_SPACE "a"), 6); /* as the file spells it */
    assert_int_equal(duet_tokenizer_id(t, " a"), 6);            /* as it reads */
    assert_int_equal(duet_tokenizer_id(t, "X X"), 13);
    assert_int_equal(duet_tokenizer_id(t, "zz"), -1);
    assert_memory_equal(duet_tokenizer_bytes(t, 6, &n), " a", 2);
    assert_int_equal(n, 2);
    assert_null(duet_tokenizer_bytes(t, 14, &n)); /* a gap */
    assert_null(duet_tokenizer_bytes(t, -1, &n));
    assert_true(duet_tokenizer_is_added(t, 13) && duet_tokenizer_is_special(t, 13));
    assert_true(duet_tokenizer_is_added(t, 15) && !duet_tokenizer_is_special(t, 15));
    assert_false(duet_tokenizer_is_added(t, 0) || duet_tokenizer_is_added(t, 99) || duet_tokenizer_is_special(t, 14));
    assert_int_equal(duet_tokenizer_decode(t, (const int32_t[]){0, 14}, 2, false, &text, &err), DUET_E_RANGE);
    assert_int_equal(duet_tokenizer_decode(t, (const int32_t[]){-1}, 1, false, &text, &err), DUET_E_RANGE);
    must(duet_tokenizer_decode(t, (const int32_t[]){0, 13, 15, 6}, 4, true, &text, &err), &err);
    assert_string_equal(text.data, "a\xc3\xa9 a");
    duet_text_free(&text);
    must(duet_tokenizer_decode(t, NULL, 0, true, &text, &err), &err);
    assert_string_equal(text.data, "");
    duet_text_free(&text);
    duet_tokenizer_close(t);
}

static void test_same(void **state) {
    (void)state;
    static const struct {
        const char *name;
        parts p;
        bool same;
    } cases[] = {
        {"itself",         {0},                                                 true },
        {"post_processor", {.post = level},                                     true },
        {"normalizer",     {.normalizer = "{\"type\":\"NFC\"}"},                false},
        {"pattern",        {.pre = SPLIT("a", "Isolated")},                     false},
        {"added",          {.added = ADDED("\"special\":true")},                false},
        {"merges",         {.model = VOCAB("{\"a\":0,\"b\":1,\"c\":2}", "[]")}, false},
    };
    duet_tokenizer *a = NULL;
    duet_err err = {{0}};
    must(open_parts(&cases[0].p, &a, &err), &err);
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        duet_tokenizer *b = NULL;
        print_message("case: %s\n", cases[i].name);
        must(open_parts(&cases[i].p, &b, &err), &err);
        assert_int_equal(duet_tokenizer_same(a, b), cases[i].same);
        assert_int_equal(duet_tokenizer_same(b, a), cases[i].same);
        duet_tokenizer_close(b);
    }
    duet_tokenizer_close(a);
}

/* ---- merging against the definition ---- */

static size_t slow_merge(const dt_vocab *v, const char *s, size_t n, int32_t *id) {
    for (size_t i = 0; i < n; i++)
        id[i] = v->byte_id[(uint8_t)s[i]];
    for (;;) {
        size_t at = n, best = SIZE_MAX;
        uint32_t made = 0;
        for (size_t r = 0; r < v->n_merges && at == n; r++)
            for (size_t i = 0; i + 1 < n; i++)
                if (v->merges[r].left == (uint32_t)id[i] && v->merges[r].right == (uint32_t)id[i + 1]) {
                    at = i;
                    best = r;
                    made = v->merges[r].id;
                    break;
                }
        if (best == SIZE_MAX)
            return n;
        id[at] = (int32_t)made;
        memmove(id + at + 1, id + at + 2, (n - at - 2) * sizeof *id);
        n--;
    }
}

static void test_merge_order(void **state) {
    (void)state;
    /* Random merges over three letters: many overlaps, many pieces that can be built in several ways. */
    for (uint64_t seed = 1; seed <= 40; seed++) {
        dt_rng r = dt_rng_make(seed, 0);
        dt_vocab v = {0};
        duet_err err = {{0}};
        bool use[256] = {0};
        use['a'] = use['b'] = use['c'] = true;
        must(dt_tok_begin(&v, use, 30, &err), &err);
        for (int k = 0; k < 30; k++) {
            const uint32_t l = dt_rng_below(&r, (uint32_t)v.size), q = dt_rng_below(&r, (uint32_t)v.size);
            char both[512];
            const size_t nl = v.tokens[l].n, nr = v.tokens[q].n;
            if (nl + nr > sizeof both)
                continue;
            memcpy(both, v.pool.data + v.tokens[l].off, nl);
            memcpy(both + nl, v.pool.data + v.tokens[q].off, nr);
            if (dt_vocab_find(&v, both, nl + nr, false) >= 0)
                continue;
            dt_vocab_put(&v, v.size, both, nl + nr, DT_TOK_VOCAB);
            dt_vocab_add_merge(&v, l, q, (uint32_t)v.size++);
        }
        dt_bpe_work *w = dt_bpe_work_create();
        for (size_t n = 0; n < 120; n += 1 + n / 8) { /* across the border between short and long pieces */
            char s[128];
            int32_t want[128];
            duet_ids got = {0};
            size_t bad = 0;
            for (size_t i = 0; i < n; i++)
                s[i] = (char)('a' + dt_rng_below(&r, 3));
            const size_t n_want = slow_merge(&v, s, n, want);
            must(dt_bpe_piece(&v, w, (const uint8_t *)s, n, &got, &bad), &err);
            char name[64];
            snprintf(name, sizeof name, "seed %d, %zu letters", (int)seed, n);
            assert_true(check_ids(name, &got, want, n_want));
            duet_ids_free(&got);
        }
        dt_bpe_work_destroy(w);
        dt_vocab_clear(&v);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),       cmocka_unit_test(test_broken),
        cmocka_unit_test(test_truncated),   cmocka_unit_test(test_invalid_utf8),
        cmocka_unit_test(test_long_runs),   cmocka_unit_test(test_outside_the_alphabet),
        cmocka_unit_test(test_tokens),      cmocka_unit_test(test_same),
        cmocka_unit_test(test_merge_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
