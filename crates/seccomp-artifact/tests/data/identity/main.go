// Makes what `cosign sign` makes with an identity: a bundle by a certificate, in a log, with a timestamp, and the trusted root to verify it by.
// Sigstore's own library for tests stands in for its servers. Usage: go run . DIGEST-IN-HEX FOLDER
package main

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	bundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	common "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	dsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	rekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"google.golang.org/protobuf/encoding/protojson"
)

const (
	identity = "https://github.com/acme/profiles/.github/workflows/push.yaml@refs/tags/v1"
	issuer   = "https://token.actions.githubusercontent.com"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func statement(digest, predicate string) []byte {
	return must(json.Marshal(map[string]any{
		"_type":         "https://in-toto.io/Statement/v1",
		"subject":       []any{map[string]any{"digest": map[string]string{"sha256": digest}}},
		"predicateType": predicate,
		"predicate":     map[string]any{},
	}))
}

func inBundle(entity *ca.TestEntity, payload []byte) []byte {
	certificate := must(entity.VerificationContent()).Certificate()
	entries := []*rekor.TransparencyLogEntry{}
	for _, entry := range must(entity.TlogEntries()) {
		made := entry.TransparencyLogEntry()
		if made.KindVersion == nil {
			made.KindVersion = &rekor.KindVersion{Kind: "dsse", Version: "0.0.1"}
		}
		entries = append(entries, made)
	}
	times := []*common.RFC3161SignedTimestamp{}
	for _, time := range must(entity.Timestamps()) {
		times = append(times, &common.RFC3161SignedTimestamp{SignedTimestamp: time})
	}
	return must(protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(&bundle.Bundle{
		MediaType: "application/vnd.dev.sigstore.bundle.v0.3+json",
		VerificationMaterial: &bundle.VerificationMaterial{
			Content:                   &bundle.VerificationMaterial_Certificate{Certificate: &common.X509Certificate{RawBytes: certificate.Raw}},
			TlogEntries:               entries,
			TimestampVerificationData: &bundle.TimestampVerificationData{Rfc3161Timestamps: times},
		},
		Content: &bundle.Bundle_DsseEnvelope{DsseEnvelope: &dsse.Envelope{
			Payload:     payload,
			PayloadType: "application/vnd.in-toto+json",
			Signatures:  []*dsse.Signature{{Sig: must(entity.SignatureContent()).Signature()}},
		}},
	}))
}

func main() {
	digest, folder := os.Args[1], os.Args[2]
	write := func(name string, content []byte) {
		if err := os.WriteFile(filepath.Join(folder, name), append(content, '\n'), 0o644); err != nil {
			panic(err)
		}
	}
	sigstore := must(ca.NewVirtualSigstore())
	logs := sigstore.RekorLogs()
	for id, log := range logs {
		log.ID = must(hex.DecodeString(id))
	}
	trusted := must(root.NewTrustedRoot(root.TrustedRootMediaType01, sigstore.FulcioCertificateAuthorities(), nil,
		sigstore.TimestampingAuthorities(), logs))
	write("trusted_root.json", must(trusted.MarshalJSON()))
	signed := statement(digest, "https://sigstore.dev/cosign/sign/v1")
	attested := statement(digest, "https://slsa.dev/provenance/v1")
	write("identity.rekor1.json", inBundle(must(sigstore.AttestAtTime(identity, issuer, signed, time.Now(), true)), signed))
	write("identity.rekor2.json", inBundle(must(sigstore.AttestHashedRekordV2(identity, issuer, signed)), signed))
	write("attestation.json", inBundle(must(sigstore.AttestAtTime(identity, issuer, attested, time.Now(), true)), attested))
}
