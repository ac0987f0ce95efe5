// SPDX-License-Identifier: Apache-2.0

import java.io.FileInputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.security.*;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.MGF1ParameterSpec;
import java.security.spec.PSSParameterSpec;
import java.util.Arrays;
import java.util.Collections;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import javax.crypto.Cipher;
import javax.net.ssl.*;

/** Run by java.sh as: Token CONFIGURATION AUTHORITY first|last, or Token CONFIGURATION AUTHORITY serve ALIAS */
public class Token {
	static final byte[] TEXT = "hello".getBytes();
	static final String[] ALIASES = {"rsa2048", "p256"};
	static Provider provider;
	static KeyStore token;
	static TrustManager[] trusted;

	static void require(boolean holds, String text) {
		if (!holds)
			throw new AssertionError(text);
	}

	static PrivateKey key(String alias) throws Exception {
		return (PrivateKey) token.getKey(alias, null);
	}

	static PublicKey publicKey(String alias) throws Exception {
		return token.getCertificate(alias).getPublicKey();
	}

	/** Signs in the token; verifies in the token, for which Java makes a session object, and in Java. */
	static void sign(String alias, String algorithm, PSSParameterSpec parameters, String javaProvider) throws Exception {
		Signature signer = Signature.getInstance(algorithm, provider);
		if (parameters != null)
			signer.setParameter(parameters);
		signer.initSign(key(alias));
		signer.update(TEXT, 0, 2);
		signer.update(TEXT, 2, TEXT.length - 2);
		byte[] signature = signer.sign();
		for (Provider verifying : new Provider[] {provider, Security.getProvider(javaProvider)}) {
			Signature verifier = Signature.getInstance(algorithm, verifying);
			if (parameters != null)
				verifier.setParameter(parameters);
			verifier.initVerify(publicKey(alias));
			verifier.update(TEXT);
			require(verifier.verify(signature), algorithm + " by " + verifying);
			verifier.initVerify(publicKey(alias));
			verifier.update(TEXT, 1, 4);
			require(!verifier.verify(signature), "forged " + algorithm + " by " + verifying);
		}
	}

	static void signAll() throws Exception {
		for (String hash : new String[] {"SHA1", "SHA224", "SHA256", "SHA384", "SHA512"}) {
			sign("rsa2048", hash + "withRSA", null, "SunRsaSign");
			sign("p256", hash + "withECDSA", null, "SunEC");
		}
		for (int length : new int[] {256, 384, 512}) {
			String hash = "SHA-" + length;
			PSSParameterSpec parameters = new PSSParameterSpec(hash, "MGF1", new MGF1ParameterSpec(hash), length / 8, 1);
			sign("rsa2048", "RSASSA-PSS", parameters, "SunRsaSign");
		}
		sign("p256", "SHA256withECDSAinP1363Format", null, "SunEC");
	}

	static void decrypt() throws Exception {
		Cipher encrypting = Cipher.getInstance("RSA/ECB/PKCS1Padding", "SunJCE");
		encrypting.init(Cipher.ENCRYPT_MODE, publicKey("rsa2048"));
		Cipher decrypting = Cipher.getInstance("RSA/ECB/PKCS1Padding", provider);
		decrypting.init(Cipher.DECRYPT_MODE, key("rsa2048"));
		require(Arrays.equals(decrypting.doFinal(encrypting.doFinal(TEXT)), TEXT), "decrypt");
	}

	/** The keys of one alias only, so that RSA and EC are both tried. */
	static SSLContext contextOf(String alias) throws Exception {
		Certificate[] chain = token.getCertificateChain(alias);
		X509Certificate[] certificates = Arrays.copyOf(chain, chain.length, X509Certificate[].class);
		PrivateKey key = key(alias);
		KeyManager only = new X509ExtendedKeyManager() {
			public String[] getClientAliases(String type, Principal[] issuers) { return new String[] {alias}; }
			public String chooseClientAlias(String[] types, Principal[] issuers, Socket socket) { return alias; }
			public String[] getServerAliases(String type, Principal[] issuers) { return new String[] {alias}; }
			public String chooseServerAlias(String type, Principal[] issuers, Socket socket) {
				return type.startsWith(key.getAlgorithm()) ? alias : null;
			}
			public X509Certificate[] getCertificateChain(String ignored) { return certificates; }
			public PrivateKey getPrivateKey(String ignored) { return key; }
		};
		SSLContext context = SSLContext.getInstance("TLS");
		context.init(new KeyManager[] {only}, trusted, null);
		return context;
	}

	static SSLServerSocket listen(SSLContext context) throws Exception {
		SSLServerSocket listener = (SSLServerSocket) context.getServerSocketFactory().createServerSocket(0, 10, InetAddress.getLoopbackAddress());
		listener.setNeedClientAuth(true);
		return listener;
	}

	static void serve(SSLServerSocket listener) throws Exception {
		try (Socket connection = listener.accept()) {
			connection.getOutputStream().write(TEXT);
		}
	}

	static void connect(String alias, String version) throws Exception {
		SSLContext context = contextOf(alias);
		ExecutorService server = Executors.newSingleThreadExecutor();
		try (SSLServerSocket listener = listen(context)) {
			Future<Void> served = server.submit(() -> { serve(listener); return null; });
			try (SSLSocket connection = (SSLSocket) context.getSocketFactory().createSocket("localhost", listener.getLocalPort())) {
				connection.setEnabledProtocols(new String[] {version});
				require(Arrays.equals(connection.getInputStream().readAllBytes(), TEXT), version + " with " + alias);
				require(connection.getSession().getProtocol().equals(version), version);
			}
			served.get();
		} finally {
			server.shutdown();
		}
	}

	static void inThreads() throws Exception {
		ExecutorService threads = Executors.newFixedThreadPool(8);
		Callable<Void> work = () -> {
			for (int i = 0; i < 20; i++) {
				sign("rsa2048", "SHA256withRSA", null, "SunRsaSign");
				sign("p256", "SHA256withECDSA", null, "SunEC");
			}
			return null;
		};
		for (Future<Void> done : threads.invokeAll(Collections.nCopies(8, work)))
			done.get();
		threads.shutdown();
	}

	static void trust(String authority) throws Exception {
		KeyStore store = KeyStore.getInstance("PKCS12");
		store.load(null, null);
		try (FileInputStream file = new FileInputStream(authority)) {
			store.setCertificateEntry("authority", CertificateFactory.getInstance("X.509").generateCertificate(file));
		}
		TrustManagerFactory factory = TrustManagerFactory.getInstance("PKIX");
		factory.init(store);
		trusted = factory.getTrustManagers();
	}

	public static void main(String[] arguments) throws Exception {
		provider = Security.getProvider("SunPKCS11").configure(arguments[0]);
		if (arguments[2].equals("first"))
			Security.insertProviderAt(provider, 1);
		else
			Security.addProvider(provider);
		trust(arguments[1]);
		token = KeyStore.getInstance("PKCS11", provider);
		token.load(null, null);
		if (arguments[2].equals("serve")) {
			try (SSLServerSocket listener = listen(contextOf(arguments[3]))) {
				System.out.println(listener.getLocalPort());
				while (true)
					try {
						serve(listener);
					} catch (SSLException refused) {
						System.err.println(refused);
					}
			}
		}
		require(Collections.list(token.aliases()).stream().sorted().collect(Collectors.toList()).equals(
			Arrays.asList("p256", "rsa2048")), "aliases");
		require(key("rsa2048").getEncoded() == null, "a key that stays where it is");
		require(MessageDigest.getInstance("SHA-256", provider).digest(TEXT).length == 32, "digest");
		signAll();
		decrypt();
		inThreads();
		for (String alias : ALIASES)
			for (String version : new String[] {"TLSv1.2", "TLSv1.3"})
				connect(alias, version);
	}
}
